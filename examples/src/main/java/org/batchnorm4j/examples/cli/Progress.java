package org.batchnorm4j.examples.cli;

import java.io.Console;
import java.io.PrintWriter;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;

/**
 * Shows how far a training is: a bar that moves on a terminal; elsewhere plain lines, one for every
 * tenth of the work and at least one every 15 seconds.
 */
public final class Progress implements AutoCloseable {
  private static final long SILENCE = TimeUnit.SECONDS.toNanos(15);

  private final PrintWriter out;
  private final String name;
  private final long total;
  private final @Nullable ProgressBar bar;
  private long worked;
  private long resumedAt = System.nanoTime();
  private long done;
  private long printedAt;
  private long printedDone;

  /**
   * Starts a task.
   *
   * @param out where plain lines go; a bar goes to standard output
   * @param terminal whether to draw a bar
   * @param total the number of images
   */
  public Progress(PrintWriter out, boolean terminal, String name, long total) {
    this.out = out;
    this.name = name;
    this.total = total;
    this.printedAt = resumedAt;
    out.flush();
    this.bar =
        terminal
            ? new ProgressBarBuilder()
                .setTaskName(name)
                .setInitialMax(total)
                .hideEta()
                .setStyle(ProgressBarStyle.ASCII)
                .setUpdateIntervalMillis(200)
                .setConsumer(new ConsoleProgressBarConsumer(System.out))
                .build()
            : null;
  }

  /** Whether standard output is a terminal that a bar can move on. */
  public static boolean isTerminal() {
    Console console = System.console();
    if (console == null || "dumb".equals(System.getenv("TERM"))) {
      return false;
    }
    try {
      // From JDK 22 on there may be a console without a terminal.
      return (Boolean) Console.class.getMethod("isTerminal").invoke(console);
    } catch (ReflectiveOperationException e) {
      return true;
    }
  }

  /** Reports that {@code images} more are done, at this loss. */
  public void step(long images, double loss) {
    done += images;
    if (bar != null) {
      bar.setExtraMessage(
          String.format(Locale.ROOT, " loss %.4f, %,.0f images/s", loss, imagesPerSecond()));
      bar.stepBy(images);
      return;
    }
    long now = System.nanoTime();
    boolean tenth = done * 10 / total > printedDone * 10 / total;
    if (tenth || now - printedAt > SILENCE) {
      printedAt = now;
      printedDone = done;
      out.printf(
          Locale.ROOT,
          "%s %3d %%  %,d/%,d images  loss %.4f  %,.0f images/s%n",
          name,
          done * 100 / total,
          done,
          total,
          loss,
          imagesPerSecond());
      out.flush();
    }
  }

  /** Stops the clock, for something that is not the task itself. */
  public void pause() {
    worked += System.nanoTime() - resumedAt;
  }

  /** Lets the clock run on. */
  public void resume() {
    resumedAt = System.nanoTime();
  }

  /** How fast the task went so far, pauses left out. */
  public double imagesPerSecond() {
    return done / ((worked + System.nanoTime() - resumedAt) / 1e9);
  }

  @Override
  public void close() {
    if (bar != null) {
      bar.close();
    }
  }
}
