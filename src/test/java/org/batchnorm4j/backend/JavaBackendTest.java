package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

/** Scratch: reused, and no thread's but its own. The bits are {@link TextbookTest}'s. */
class JavaBackendTest {
  private final JavaBackend backend = Backends.javaBackend();

  @Test
  void allocatesNothingInSteadyState() {
    var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    Tensor x = Tensor.zeros(16, 70, 300);
    Tensor y = Tensor.zeros(16, 70, 300);
    Tensor dx = Tensor.zeros(16, 70, 300);
    Tensor dweight = Tensor.zeros(70);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, 70);
    Problem problem = new Problem(16, 70, 300, Layout.NCS, DType.F32, Activation.RELU);
    Runnable step =
        () -> {
          backend.training(problem, x, null, y, null, null, 1e-5, saved, null, null, 0.1);
          backend.inference(problem, x, null, y, saved.mean(), saved.invStd(), null, null, 1e-5);
          backend.backwardTraining(problem, y, x, y, null, null, saved, dx, null, dweight, null);
          backend.backwardTraining(problem, y, x, null, null, null, saved, dx, null, dweight, null);
        };
    step.run();
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < 10; i++) {
      step.run();
    }
    long bytesPerStep = (threads.getCurrentThreadAllocatedBytes() - before) / 10;
    // Lists of arguments and the like; the data has 1.3 MB.
    assertTrue(bytesPerStep < 4096, () -> bytesPerStep + " bytes per step");
  }

  /** Problems of many sizes after each other, on several threads at once. */
  @Test
  void threadsDoNotShareScratch() throws Exception {
    List<Case> cases = new ArrayList<>();
    List<Case.Results> expected = new ArrayList<>();
    Random random = new Random(9);
    for (int i = 0; i < 40; i++) {
      DType dtype = DType.values()[random.nextInt(4)];
      int n = 1 + random.nextInt(20);
      cases.add(new Case(dtype, n, 1 + random.nextInt(200), 2 + random.nextInt(40), random));
      expected.add(cases.get(i).run(backend, Layout.NCS));
    }
    ExecutorService pool = Executors.newFixedThreadPool(3);
    try {
      List<Future<?>> done = new ArrayList<>();
      for (int t = 0; t < 3; t++) {
        int first = 13 * t;
        done.add(
            pool.submit(
                () -> {
                  for (int i = 0; i < cases.size(); i++) {
                    int k = (first + i) % cases.size();
                    Case.Results actual = cases.get(k).run(backend, Layout.values()[i % 2]);
                    TextbookTest.assertBits(expected.get(k), actual, cases.get(k).toString());
                  }
                }));
      }
      for (Future<?> f : done) {
        f.get();
      }
    } finally {
      pool.shutdown();
    }
  }
}
