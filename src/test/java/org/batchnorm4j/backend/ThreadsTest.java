package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;

/** The thread contract: many callers, one team, the same bits. */
class ThreadsTest {
  private static final int CALLERS = 64;
  private static final int CALLS = 6;
  private static final int TEAM = 4;
  private static final Problem LARGE =
      new Problem(8, 32, 3136, Layout.NCS, DType.F32, Activation.NONE);

  /** What one caller needs: its own output on shared inputs. */
  private static final class Caller implements AutoCloseable {
    private final Tensor y = Tensor.zeros(8, 32, 3136);
    private final SavedStatistics saved = SavedStatistics.allocate(DType.F32, 32);

    void call(BatchNormBackend backend, Tensor x) {
      backend.training(LARGE, x, null, y, null, null, 1e-5, saved, null, null, 0.1);
    }

    @Override
    public void close() {
      y.close();
      saved.close();
    }
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void manyCallersShareOneTeamAndGetTheSameBits() throws Exception {
    NativeBackend backend = Backends.nativeBackend().withThreads(TEAM);
    try (Tensor x = Tensor.zeros(8, 32, 3136);
        Caller alone = new Caller()) {
      float[] values = new float[(int) x.size()];
      Random random = new Random(3);
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) random.nextGaussian();
      }
      x.copyFrom(values);
      alone.call(backend, x);
      float[] expected = alone.y.toFloatArray();

      ExecutorService callers = Executors.newFixedThreadPool(CALLERS);
      CyclicBarrier start = new CyclicBarrier(CALLERS);
      try {
        // The callers' own threads are there before anything is counted.
        for (Future<?> f : all(callers, start, () -> {})) {
          f.get();
        }
        long before = threads();
        List<Future<?>> running =
            all(
                callers,
                start,
                () -> {
                  try (Caller caller = new Caller()) {
                    for (int i = 0; i < CALLS; i++) {
                      caller.call(backend, x);
                    }
                    assertArrayEquals(expected, caller.y.toFloatArray());
                  }
                });
        long most = 0;
        while (running.stream().anyMatch(f -> !f.isDone())) {
          most = Math.max(most, threads());
          Thread.sleep(1);
        }
        for (Future<?> f : running) {
          f.get();
        }
        // One leader and its OpenMP threads; the JVM may start some of its own meanwhile, compilers
        // and collectors, more on more cores. A pool for each caller would be two threads or more.
        long limit = before + CALLERS / 2;
        long seen = most;
        assertTrue(seen <= limit, () -> seen + " threads, expected at most " + limit);
      } finally {
        callers.shutdown();
        assertTrue(callers.awaitTermination(10, TimeUnit.MINUTES));
      }
    }
  }

  private static List<Future<?>> all(ExecutorService callers, CyclicBarrier start, Runnable work) {
    List<Future<?>> futures = new ArrayList<>();
    for (int i = 0; i < CALLERS; i++) {
      futures.add(
          callers.submit(
              () -> {
                start.await();
                work.run();
                return null;
              }));
    }
    return futures;
  }

  /** The threads of this process, native ones included. */
  private static long threads() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("Threads:")) {
        return Long.parseLong(line.substring("Threads:".length()).strip());
      }
    }
    throw new IOException("no Threads: in /proc/self/status");
  }
}
