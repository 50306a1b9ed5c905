package org.batchnorm4j.benchmarks.peer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * Many threads that call another contender at once. However many they are, a run is the same calls
 * on the same {@link #SETS} sets of tensors, which they share out: one caller goes round as much
 * memory as 64 do, and only the number of threads differs.
 */
public record Callers(Peer peer, int callers) implements Peer {
  /** The sets of tensors a cell has to have; a multiple of the number of callers. */
  public static final int SETS = 64;

  /** Elements of a set's calls in a run, so that handing them over to a thread costs little. */
  private static final long MIN_ELEMENTS = 1 << 20;

  private static final long MAX_TIMES = 64;

  @Override
  public String name() {
    return peer.name() + ", " + callers + (callers == 1 ? " caller" : " callers");
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands operands) {
    throw new UnsupportedOperationException("many callers want many sets of tensors");
  }

  @Override
  public List<Task> prepare(Cell cell, List<Operands> sets) throws Exception {
    List<Task> tasks = peer.prepare(cell, sets);
    return tasks.isEmpty() ? tasks : List.of(new Together(cell, sets, tasks, callers));
  }

  private static final class Together implements Task {
    private final Cell cell;
    private final List<Operands> sets;
    private final List<Task> tasks;
    private final int callers;
    private final int times;
    private final ExecutorService threads;

    Together(Cell cell, List<Operands> sets, List<Task> tasks, int callers) {
      this.cell = cell;
      this.sets = sets;
      this.tasks = tasks;
      this.callers = callers;
      times = (int) Math.max(1, Math.min(MAX_TIMES, MIN_ELEMENTS / cell.size()));
      threads = Executors.newFixedThreadPool(callers);
    }

    @Override
    public int calls() {
      return times * tasks.size();
    }

    @Override
    public void run() {
      List<Future<?>> running = new ArrayList<>();
      int each = tasks.size() / callers;
      for (int from = 0; from < tasks.size(); from += each) {
        List<Task> own = tasks.subList(from, from + each);
        running.add(
            threads.submit(
                () -> {
                  for (int i = 0; i < times; i++) {
                    own.forEach(Task::run);
                  }
                }));
      }
      for (Future<?> one : running) {
        try {
          one.get();
        } catch (ExecutionException e) {
          throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IllegalStateException(e);
        }
      }
    }

    /** The first set's values are checked by others; here that every set was computed. */
    @Override
    public void publish() {
      for (int i = 0; i < tasks.size(); i++) {
        float[] expected = values(sets.get(i));
        tasks.get(i).run();
        if (!Arrays.equals(expected, values(sets.get(i)))) {
          throw new IllegalStateException("many callers got other values than one");
        }
      }
    }

    private float[] values(Operands o) {
      Tensor t = o.output(cell);
      float[] values = new float[(int) t.size()];
      TensorAccess.read(t, 0, values, 0, values.length);
      return values;
    }

    @Override
    public void close() {
      threads.shutdownNow();
      tasks.forEach(Task::close);
    }
  }
}
