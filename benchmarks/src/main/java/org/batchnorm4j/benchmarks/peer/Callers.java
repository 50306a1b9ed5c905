package org.batchnorm4j.benchmarks.peer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Many threads that call another contender at once, each with tensors of its own. However many they
 * are, a run is {@link #CALLS} calls in all, so times can be compared.
 */
public record Callers(Peer peer, int callers) implements Peer {
  /** The calls of a run; a multiple of the number of callers. */
  public static final int CALLS = 64;

  @Override
  public String name() {
    return peer.name() + ", " + callers + (callers == 1 ? " caller" : " callers");
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands operands) throws Exception {
    Together together = new Together(cell, operands, callers);
    try {
      for (Operands o : together.operands) {
        Task task = peer.prepare(cell, o);
        if (task == null) {
          together.close();
          return null;
        }
        together.tasks.add(task);
      }
      return together;
    } catch (Exception e) {
      together.close();
      throw e;
    }
  }

  private static final class Together implements Task {
    private final Cell cell;
    private final List<Operands> operands = new ArrayList<>();
    private final List<Task> tasks = new ArrayList<>();
    private final ExecutorService threads;

    Together(Cell cell, Operands first, int callers) {
      this.cell = cell;
      threads = Executors.newFixedThreadPool(callers);
      operands.add(first);
      while (operands.size() < callers) {
        operands.add(new Operands(cell, 0));
      }
    }

    @Override
    public int calls() {
      return CALLS;
    }

    @Override
    public void run() {
      List<Future<?>> running = new ArrayList<>();
      for (Task task : tasks) {
        running.add(
            threads.submit(
                () -> {
                  for (int i = 0; i < CALLS / tasks.size(); i++) {
                    task.run();
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

    /** The first caller's values are checked by others; here that all have the same. */
    @Override
    public void publish() {
      tasks.forEach(Task::publish);
      float[] expected = values(operands.get(0));
      for (Operands o : operands) {
        if (!Arrays.equals(expected, values(o))) {
          throw new IllegalStateException("callers at the same time got different values");
        }
      }
    }

    private float[] values(Operands o) {
      Tensor t = o.output(cell);
      float[] values = new float[(int) t.size()];
      t.read(t.offset(), values, 0, values.length);
      return values;
    }

    @Override
    public void close() {
      threads.shutdownNow();
      tasks.forEach(Task::close);
      operands.subList(1, operands.size()).forEach(Operands::close);
    }
  }
}
