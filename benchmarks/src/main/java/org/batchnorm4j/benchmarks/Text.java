package org.batchnorm4j.benchmarks;

import java.io.PrintStream;
import java.util.Locale;

/** What tables and the line of progress are written in. */
public final class Text {
  private Text() {}

  /** A number with about three digits, such as microseconds. */
  public static String number(double value) {
    String format = value < 1 ? "%.3f" : value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f";
    return String.format(Locale.ROOT, format, value);
  }

  /** Says what is measured now; on a terminal, over what was said before. */
  public static void progress(PrintStream out, int part, int of, long secondsLeft, String what) {
    out.printf(
        Locale.ROOT,
        "%s%d of %d, %d:%02d left: %-60s",
        System.console() == null ? "\n" : "\r",
        part,
        of,
        secondsLeft / 60,
        secondsLeft % 60,
        what);
  }
}
