package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Isa;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SmallDenseStepTest {

  /** All ways a row is cut into vectors, and rows into blocks. */
  @ParameterizedTest
  @CsvSource({
    "1,1", "3,2", "10,50", "50,2", "7,15", "7,16", "7,17", "5,32", "5,33", "4,48", "9,63", "9,64",
    "9,65", "2,96", "2,100", "16,130", "128,128", "16384,1", "1,16384"
  })
  void hasTheSameBitsEverywhere(int in, int out) {
    SplittableRandom random = new SplittableRandom(in * 31L + out);
    boolean relu = out % 2 == 0;
    try (Linear linear = new Linear(in, out, random);
        SmallDenseStep java = new SmallDenseStep(linear, 1, relu, null)) {
      float[] weight = linear.weight().value().toFloatArray();
      float[] bias = linear.bias().value().toFloatArray();
      for (int rows :
          in * out > 5000 ? new int[] {1, 5, 70} : new int[] {0, 1, 2, 3, 4, 5, 8, 13}) {
        float[] x = new float[rows * in];
        for (int i = 0; i < x.length; i++) {
          x[i] = (float) random.nextGaussian();
        }
        float[] expected = run(java, x, rows, out);
        for (int i = 0; i < rows * out; i++) {
          double sum = bias[i % out];
          double size = Math.abs(sum);
          for (int k = 0; k < in; k++) {
            double product = (double) x[i / out * in + k] * weight[i % out * in + k];
            sum += product;
            size += Math.abs(product);
          }
          sum = relu ? Math.max(sum, 0) : sum;
          assertEquals(sum, expected[i], in * 6e-8 * size + 1e-30, "output " + i);
        }
        for (Isa isa : Backends.supportedIsas()) {
          if (isa != Isa.SCALAR) {
            try (SmallDenseStep step = new SmallDenseStep(linear, 1, relu, isa)) {
              assertArrayEquals(expected, run(step, x, rows, out), isa + ", rows: " + rows);
            }
          }
        }
      }
    }
  }

  /** The outputs, after checking that nothing is written behind them. */
  private static float[] run(SmallDenseStep step, float[] x, int rows, int out) {
    float[] y = new float[rows * out + 20];
    Arrays.fill(y, 9);
    try (Step.Runner runner = step.newRunner(rows)) {
      runner.run(x, y, rows);
    } catch (Exception e) {
      throw new AssertionError(e);
    }
    for (int i = rows * out; i < y.length; i++) {
      assertEquals(9, y[i], "behind the outputs");
    }
    return Arrays.copyOf(y, rows * out);
  }

  @Test
  void isForSmallLayers() {
    try (Linear small = new Linear(128, 128);
        Linear large = new Linear(128, 129)) {
      assertTrue(SmallDenseStep.isFor(small));
      assertFalse(SmallDenseStep.isFor(large));
    }
  }
}
