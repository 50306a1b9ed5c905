package org.batchnorm4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.concurrent.locks.LockSupport;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Operands;
import org.batchnorm4j.benchmarks.peer.Peer;
import org.jspecify.annotations.Nullable;

/**
 * Measures a cell: all contenders and the yardsticks take turns in one process, in another order
 * every round, so that a drift of the machine hits all alike. Before each turn the threads that the
 * last one left spinning are waited for, and a few runs wake the contender's own.
 */
final class Race {
  private static final double SLICE_SECONDS = 1e-3;
  private static final double WARMUP_SECONDS = 0.05;
  private static final int MIN_ROUNDS = 3;
  private static final int MAX_ROUNDS = 1000;
  private static final double L2_BYTES = l2Bytes();

  private final List<Peer> peers;
  private final int threads;
  private final SplittableRandom random = new SplittableRandom(7);

  Race(List<Peer> peers, int threads) {
    this.peers = peers;
    this.threads = threads;
  }

  /** Someone in the race. */
  private static final class Runner {
    final String name;
    final List<Peer.Task> tasks;
    int repeats = 1;
    int next;
    int rounds;
    final double[] seconds = new double[MAX_ROUNDS];
    final double[] busy = new double[MAX_ROUNDS];

    Runner(String name, List<Peer.Task> tasks) {
      this.name = name;
      this.tasks = tasks;
    }

    void run(int times) {
      for (int i = 0; i < times; i++) {
        tasks.get(next).run();
        next = next + 1 == tasks.size() ? 0 : next + 1;
      }
    }

    double quantile(double q) {
      double[] sorted = Arrays.copyOf(seconds, rounds);
      Arrays.sort(sorted);
      return sorted[(int) Math.round(q * (rounds - 1))];
    }

    double coresBusy() {
      double[] sorted = Arrays.copyOf(busy, rounds);
      Arrays.sort(sorted);
      return sorted[rounds / 2];
    }
  }

  /** What memory has to do at least: some reads, and a copy or a triad. */
  record Limit(int reads, boolean triad) {
    static Limit of(Cell cell) {
      boolean backward = cell.is(Cell.Operation.BACKWARD);
      boolean triad = backward || cell.residual();
      int reads = backward && cell.relu() ? 1 : 0;
      if (!cell.is(Cell.Operation.INFERENCE)) {
        double channel = (double) cell.n() * cell.s() * cell.dtype().bytes() * (backward ? 2 : 1);
        if (cell.layout() == Layout.NSC || channel > 0.75 * L2_BYTES) {
          // Two passes: the sums have to be known before the first value can be written.
          reads += backward ? 2 + reads : 1;
        }
      }
      return new Limit(reads, triad);
    }

    @Override
    public String toString() {
      String base = triad ? "triad" : "copy";
      return reads == 0 ? base : (reads == 1 ? "read" : reads + " reads") + " + " + base;
    }
  }

  /** Measures for about so long. */
  List<Results.Row> measure(Cell cell, double budgetSeconds) {
    long deadline = System.nanoTime() + (long) (budgetSeconds * 1e9);
    List<Operands> sets = new ArrayList<>();
    List<Runner> runners = new ArrayList<>();
    List<Results.Row> rows = new ArrayList<>();
    Limit limit = Limit.of(cell);
    try {
      for (int i = 0; i < cell.buffers(); i++) {
        sets.add(new Operands(cell, i));
      }
      addYardsticks(cell, limit, sets, runners);
      Exact exact = new Exact(cell, sets.get(0));
      for (Peer peer : peers) {
        Results.@Nullable Row refused = enter(peer, cell, sets, exact, limit, runners);
        if (refused != null) {
          rows.add(refused);
        }
      }
      race(runners, deadline, Math.min(WARMUP_SECONDS, budgetSeconds / 20));
      double limitSeconds =
          fastest(runners, limit.triad ? "triad" : "copy")
              + (limit.reads == 0 ? 0 : limit.reads * fastest(runners, "read"));
      for (Runner r : runners) {
        double busy = r.coresBusy();
        // A contender on more threads than it was given is not a contender.
        boolean cheats = busy > threads + 0.35;
        String message =
            cheats
                ? String.format(Locale.ROOT, "used %.1f cores where %d were allowed", busy, threads)
                : "";
        rows.add(
            row(
                cell,
                limit,
                r.name,
                cheats ? Results.WRONG : Results.OK,
                message,
                r,
                limitSeconds));
      }
    } finally {
      for (Runner r : runners) {
        r.tasks.forEach(Peer.Task::close);
      }
      sets.forEach(Operands::close);
    }
    return rows;
  }

  private void addYardsticks(Cell cell, Limit limit, List<Operands> sets, List<Runner> runners) {
    long floats = Math.max(1, cell.size() * cell.dtype().bytes() / 4);
    for (int past = 0; past <= 1; past++) {
      int stores = past;
      String suffix = past == 1 ? ", past the caches" : "";
      List<Peer.Task> tasks = new ArrayList<>();
      for (Operands o : sets) {
        long x = o.x.address();
        long to = o.output(cell).address();
        long second = cell.is(Cell.Operation.BACKWARD) ? o.dy.address() : o.residual.address();
        tasks.add(
            limit.triad
                ? () -> Yardstick.yardstick_triad(threads, stores, to, x, second, floats)
                : () -> Yardstick.yardstick_copy(threads, stores, to, x, floats));
      }
      runners.add(new Runner((limit.triad ? "triad" : "copy") + suffix, tasks));
    }
    if (limit.reads > 0) {
      List<Peer.Task> tasks = new ArrayList<>();
      for (Operands o : sets) {
        long x = o.x.address();
        tasks.add(() -> Yardstick.yardstick_read(threads, x, floats));
      }
      runners.add(new Runner("read", tasks));
    }
  }

  /** Prepares a contender and checks its values; the row says why it is not in the race. */
  private Results.@Nullable Row enter(
      Peer peer, Cell cell, List<Operands> sets, Exact exact, Limit limit, List<Runner> runners) {
    List<Peer.Task> tasks = new ArrayList<>();
    String status;
    String message;
    try {
      Peer.Task first = peer.prepare(cell, sets.get(0));
      if (first == null) {
        return row(cell, limit, peer.name(), Results.ABSENT, "", null, 0);
      }
      tasks.add(first);
      exact.poison();
      first.run();
      first.publish();
      String complaint = exact.complaint();
      if (complaint == null) {
        for (Operands o : sets.subList(1, sets.size())) {
          tasks.add(Objects.requireNonNull(peer.prepare(cell, o)));
        }
        runners.add(new Runner(peer.name(), tasks));
        return null;
      }
      status = Results.WRONG;
      message = complaint;
    } catch (Exception | LinkageError e) {
      status = Results.FAILED;
      message = e.toString();
    }
    tasks.forEach(Peer.Task::close);
    return row(cell, limit, peer.name(), status, message, null, 0);
  }

  private void race(List<Runner> runners, long deadline, double warmupSeconds) {
    for (Runner r : runners) {
      calibrate(r, warmupSeconds);
    }
    List<Runner> order = new ArrayList<>(runners);
    for (int round = 0;
        round < MIN_ROUNDS || System.nanoTime() < deadline && round < MAX_ROUNDS;
        round++) {
      shuffle(order);
      for (Runner r : order) {
        calmDown();
        r.run(Math.max(1, r.repeats / 8));
        double cpu = Yardstick.yardstick_cpu_seconds();
        long start = System.nanoTime();
        r.run(r.repeats);
        double seconds = (System.nanoTime() - start) * 1e-9;
        r.busy[r.rounds] = (Yardstick.yardstick_cpu_seconds() - cpu) / seconds;
        r.seconds[r.rounds++] = seconds / r.repeats / r.tasks.get(0).calls();
      }
    }
  }

  /** Lets the compilers see it, and finds how many runs make a slice. */
  private static void calibrate(Runner r, double warmupSeconds) {
    long start = System.nanoTime();
    long end = start + (long) (warmupSeconds * 1e9);
    int runs = 0;
    do {
      r.run(1);
      runs++;
    } while (System.nanoTime() < end);
    long again = System.nanoTime();
    int timed = Math.max(1, runs / 4);
    r.run(timed);
    double once = Math.max(1e-9, (System.nanoTime() - again) * 1e-9 / timed);
    r.repeats = (int) Math.max(1, Math.min(1_000_000, SLICE_SECONDS / once));
    if (r.tasks.size() > 1) {
      // Whole rotations, so that a cold run is one behind all the other sets.
      r.repeats = (r.repeats + r.tasks.size() - 1) / r.tasks.size() * r.tasks.size();
    }
  }

  /** Waits until no thread of the process is spinning any more, 20 ms at the most. */
  private static void calmDown() {
    for (int i = 0; i < 40; i++) {
      double cpu = Yardstick.yardstick_cpu_seconds();
      long start = System.nanoTime();
      LockSupport.parkNanos(300_000);
      double seconds = (System.nanoTime() - start) * 1e-9;
      if (Yardstick.yardstick_cpu_seconds() - cpu < 0.25 * seconds) {
        return;
      }
    }
  }

  private void shuffle(List<Runner> order) {
    for (int i = order.size() - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      Runner swap = order.get(i);
      order.set(i, order.get(j));
      order.set(j, swap);
    }
  }

  private static double fastest(List<Runner> runners, String prefix) {
    return runners.stream()
        .filter(r -> r.name.startsWith(prefix))
        .mapToDouble(r -> r.quantile(0.5))
        .min()
        .orElseThrow();
  }

  private Results.Row row(
      Cell cell,
      Limit limit,
      String name,
      String status,
      String message,
      @Nullable Runner r,
      double limitSeconds) {
    return new Results.Row(
        cell.group(),
        cell.operation().name().toLowerCase(Locale.ROOT),
        cell.format(),
        cell.dtype().name().toLowerCase(Locale.ROOT),
        cell.fusion().name().toLowerCase(Locale.ROOT),
        cell.shape(),
        cell.size(),
        cell.buffers(),
        threads,
        name,
        status,
        message,
        r == null ? 0 : r.quantile(0.5) * 1e6,
        r == null ? 0 : r.quantile(0) * 1e6,
        r == null ? 0 : r.quantile(0.25) * 1e6,
        r == null ? 0 : r.quantile(0.75) * 1e6,
        r == null ? 0 : r.rounds,
        r == null ? 0 : r.coresBusy(),
        limit.toString(),
        limitSeconds * 1e6);
  }

  private static double l2Bytes() {
    try {
      String size =
          Files.readString(Path.of("/sys/devices/system/cpu/cpu0/cache/index2/size")).strip();
      return 1024.0 * Integer.parseInt(size.substring(0, size.length() - 1));
    } catch (IOException | RuntimeException e) {
      return 1 << 20;
    }
  }
}
