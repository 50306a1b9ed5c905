package org.batchnorm4j.benchmarks;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Cell.Operation;

/**
 * Fails when native is far slower than it can be, as after a lost vectorization: thresholds a
 * machine under load does not come near, and more tries until each contender had its moment.
 */
final class Guard {
  /** Native inference against copy; undisturbed, it is near 1. */
  static final double MIN_SHARE_OF_COPY = 0.3;

  /** Time of the Java backend over that of native. */
  static final double MIN_GAIN = 1.0;

  private static final int TRIES = 10;
  private static final double SECONDS = 1.0;

  private Guard() {}

  /** Whether all is well; says what it saw. */
  static boolean check(PrintStream out) {
    int threads = Backends.threadLimit();
    Race race = new Race(Contenders.ours(threads), threads);
    boolean ok = true;
    for (Operation operation : Operation.values()) {
      for (Layout layout : Layout.values()) {
        ok &= check(race, Plan.cell(operation, layout, 32, 64, 56, 56), out);
      }
    }
    return ok;
  }

  private static boolean check(Race race, Cell cell, PrintStream out) {
    double share = 0;
    double gain = 0;
    List<Results.Row> all = new ArrayList<>();
    for (int i = 0; i < TRIES && !passes(cell, share, gain); i++) {
      List<Results.Row> rows = race.measure(cell, SECONDS);
      for (Results.Row row : rows) {
        if (!row.isOk() && !row.message().startsWith("used")) {
          out.println(
              "FAIL " + row.contender() + ", " + Main.describe(cell) + ": " + row.message());
          return false;
        }
      }
      all.addAll(rows);
      share = share(all);
      gain = gain(all);
    }
    boolean ok = passes(cell, share, gain);
    out.printf(
        Locale.ROOT,
        "%s %-32s %.2f of copy or triad, %.2f x the Java backend%n",
        ok ? "ok  " : "FAIL",
        Main.describe(cell),
        share,
        gain);
    return ok;
  }

  static boolean passes(Cell cell, double share, double gain) {
    boolean fast = !cell.is(Operation.INFERENCE) || share >= MIN_SHARE_OF_COPY;
    return fast && gain >= MIN_GAIN;
  }

  /** How much of what copy or triad reach, native does; best round against best round. */
  static double share(List<Results.Row> rows) {
    double limit =
        rows.stream()
            .filter(
                row -> row.contender().startsWith("copy") || row.contender().startsWith("triad"))
            .mapToDouble(Results.Row::best)
            .min()
            .orElseThrow(() -> new IllegalStateException("neither copy nor triad was measured"));
    return limit / ofNative(rows);
  }

  /** How much slower than native the Java backend is; best round against best round. */
  static double gain(List<Results.Row> rows) {
    return best(rows, "Java backend") / ofNative(rows);
  }

  /** Of native on the instruction set that users get, which comes first. */
  private static double ofNative(List<Results.Row> rows) {
    return best(rows, "native");
  }

  /** Of the first contender whose name begins so. */
  private static double best(List<Results.Row> rows, String prefix) {
    String first =
        rows.stream()
            .map(Results.Row::contender)
            .filter(name -> name.startsWith(prefix))
            .findFirst()
            .orElseThrow(() -> new IllegalStateException(prefix + " was not measured"));
    return rows.stream()
        .filter(row -> row.contender().equals(first))
        .mapToDouble(Results.Row::best)
        .min()
        .orElseThrow();
  }
}
