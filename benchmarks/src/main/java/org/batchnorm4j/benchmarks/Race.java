package org.batchnorm4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
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
 * last one left spinning are waited for, and a few runs wake the contender's own. All get the same
 * time; who is slow has fewer rounds, evenly among the others', but {@link Results#ENOUGH_ROUNDS}
 * unless that takes too long.
 */
final class Race {
  private static final double SLICE_SECONDS = 1e-3;
  private static final double WARMUP_SECONDS = 0.05;
  private static final int MAX_ROUNDS = 1000;

  /** What a slice costs besides itself: waiting for calm, waking up. */
  private static final double BETWEEN_SECONDS = 1e-3;

  private static final double MAX_WAKE_SECONDS = 0.05;

  /**
   * Who needs longer than this for enough rounds has as many as fit its share, and at least one:
   * ND4J takes seconds for a run on 100 MB, and more on a slow machine.
   */
  private static final double SLOW_SECONDS = 2;

  /** So many more cores than allowed are still noise. */
  private static final double CORES_TOLERANCE = 0.35;

  private static final double L2_BYTES = l2Bytes();
  private static final int CORES = Runtime.getRuntime().availableProcessors();

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
    int wakes;
    double once;
    int least;
    int planned;
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

    /** A slice: its time by the call, and how many cores were busy meanwhile. */
    void time(int times) {
      long counting = System.nanoTime();
      double others = Yardstick.yardstick_others_seconds();
      double own = Yardstick.yardstick_own_seconds();
      long start = System.nanoTime();
      run(times);
      double elapsed = (System.nanoTime() - start) * 1e-9;
      own = Yardstick.yardstick_own_seconds() - own;
      others = Yardstick.yardstick_others_seconds() - others;
      // To count takes a while, in which others may spin: they are not to look like more.
      double counted = (System.nanoTime() - counting) * 1e-9;
      // Of a short slice much is the asking: a thread has but one core, and all have CORES.
      busy[rounds] = Math.min(CORES, Math.min(1, own / elapsed) + others / counted);
      seconds[rounds++] = elapsed / times / tasks.get(0).calls();
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
      // Without a residual, the mask of relu follows from x.
      int reads = backward && cell.relu() && cell.residual() ? 1 : 0;
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
    List<Operands> allocated = new ArrayList<>();
    Map<Cell, Work> works = new HashMap<>();
    List<Runner> runners = new ArrayList<>();
    List<Results.Row> rows = new ArrayList<>();
    Limit limit = Limit.of(cell);
    try {
      Work own = Work.of(cell, operands(cell, allocated));
      works.put(cell, own);
      addYardsticks(cell, limit, own.sets, runners);
      double share = budgetSeconds / (peers.size() + runners.size());
      for (Peer peer : peers) {
        // On the same tensors if they are of its type.
        Work work =
            works.computeIfAbsent(
                peer.computes(cell),
                other ->
                    Work.of(
                        other,
                        other.dtype() == cell.dtype() ? own.sets : operands(other, allocated)));
        Results.@Nullable Row refused = enter(peer, cell, work, limit, runners);
        if (refused != null) {
          rows.add(refused);
        }
      }
      // However long the preparations took, there is a race.
      long earliest = System.nanoTime() + (long) (budgetSeconds * 0.3e9);
      race(runners, Math.max(deadline, earliest), Math.min(WARMUP_SECONDS, share / 4));
      double limitSeconds =
          fastest(runners, limit.triad ? "triad" : "copy")
              + (limit.reads == 0 ? 0 : limit.reads * fastest(runners, "read"));
      for (Runner r : runners) {
        double busy = r.coresBusy();
        // A contender on more threads than it was given is not a contender.
        boolean cheats = busy > threads + CORES_TOLERANCE;
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
      allocated.forEach(Operands::close);
    }
    return rows;
  }

  /** What a contender computes, on which tensors, and the right values. */
  private record Work(Cell cell, List<Operands> sets, Exact exact) {
    static Work of(Cell cell, List<Operands> sets) {
      return new Work(cell, sets, new Exact(cell, sets.get(0)));
    }
  }

  private static List<Operands> operands(Cell cell, List<Operands> allocated) {
    int before = allocated.size();
    for (int i = 0; i < cell.buffers(); i++) {
      allocated.add(new Operands(cell, i));
    }
    return List.copyOf(allocated.subList(before, allocated.size()));
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
      Peer peer, Cell cell, Work work, Limit limit, List<Runner> runners) {
    List<Peer.Task> tasks = List.of();
    String status;
    String message;
    try {
      tasks = peer.prepare(work.cell, work.sets);
      if (tasks.isEmpty()) {
        return row(cell, limit, peer.name(), Results.ABSENT, "", null, 0);
      }
      Runner runner = new Runner(peer.name(), tasks);
      work.exact.poison();
      calmDown();
      runner.run(1);
      tasks.get(0).publish();
      String complaint = work.exact.complaint();
      if (complaint == null) {
        // Cold, and before any compiler saw it: a check, and no result.
        runners.add(runner);
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
    List<Runner> order = new ArrayList<>(runners);
    for (Runner r : order) {
      calibrate(r, warmupSeconds);
    }
    double left = (deadline - System.nanoTime()) * 1e-9;
    int most = 1;
    for (Runner r : order) {
      // Caches and threads of the last one matter to whoever is quick.
      r.wakes = r.once > MAX_WAKE_SECONDS ? 0 : Math.max(1, r.repeats / 8);
      double slice = r.once * (r.repeats + r.wakes) + BETWEEN_SECONDS;
      r.least = isSlow(r.once) ? 1 : Results.ENOUGH_ROUNDS;
      r.planned = (int) Math.max(r.least, Math.min(MAX_ROUNDS, left / order.size() / slice));
      most = Math.max(most, r.planned);
    }
    for (int round = 0; round < most; round++) {
      boolean late = System.nanoTime() > deadline;
      shuffle(order);
      for (Runner r : order) {
        boolean due = (long) (round + 1) * r.planned / most > (long) round * r.planned / most;
        if (late ? r.rounds < r.least : due) {
          calmDown();
          r.run(r.wakes);
          r.time(r.repeats);
        }
      }
    }
  }

  private static boolean isSlow(double onceSeconds) {
    return onceSeconds * Results.ENOUGH_ROUNDS > SLOW_SECONDS;
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
    int timed = runs;
    if (runs > 1) {
      timed = Math.max(1, runs / 4);
      start = System.nanoTime();
      r.run(timed);
    }
    r.once = Math.max(1e-9, (System.nanoTime() - start) * 1e-9 / timed);
    r.repeats = (int) Math.max(1, Math.min(1_000_000, SLICE_SECONDS / r.once));
    if (r.tasks.size() > 1) {
      // Whole rotations, so that a cold run is one behind all the other sets.
      r.repeats = (r.repeats + r.tasks.size() - 1) / r.tasks.size() * r.tasks.size();
    }
  }

  /** Waits until no thread of the process is spinning any more, 20 ms at the most. */
  private static void calmDown() {
    for (int i = 0; i < 40; i++) {
      double cpu = Yardstick.yardstick_others_seconds();
      long start = System.nanoTime();
      LockSupport.parkNanos(300_000);
      double seconds = (System.nanoTime() - start) * 1e-9;
      if (Yardstick.yardstick_others_seconds() - cpu < 0.25 * seconds) {
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
