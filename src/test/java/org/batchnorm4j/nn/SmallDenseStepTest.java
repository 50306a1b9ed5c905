package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.nn.SmallDenseStep.Layer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

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
        SmallDenseStep java = new SmallDenseStep(List.of(Layer.of(linear, relu)), 1, null)) {
      float[] weight = linear.weight().value().toFloatArray();
      float[] bias = linear.bias().value().toFloatArray();
      for (int rows :
          in * out > 5000
              ? new int[] {1, 5, 70}
              : new int[] {0, 1, 2, 3, 4, 5, 8, 13, 16, 31, 32, 50}) {
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
            try (SmallDenseStep step =
                new SmallDenseStep(List.of(Layer.of(linear, relu)), 1, isa)) {
              assertArrayEquals(expected, run(step, x, rows, out), isa + ", rows: " + rows);
            }
          }
        }
      }
    }
  }

  /** Layers in one step are layers in a step each, at any number of rows and any place. */
  @ParameterizedTest
  @ValueSource(strings = {"10 50 2", "1 3 7 5", "128 1 128", "64 64 64", "30 64 32 1", "2 2 2 2 2"})
  void layersTogetherAreLayersOneByOne(String sizes) throws Exception {
    int[] size = Arrays.stream(sizes.split(" ")).mapToInt(Integer::parseInt).toArray();
    SplittableRandom random = new SplittableRandom(size.length);
    List<Layer> layers = new ArrayList<>();
    for (int i = 1; i < size.length; i++) {
      try (Linear linear = new Linear(size[i - 1], size[i], random)) {
        layers.add(Layer.of(linear, i < size.length - 1));
      }
    }
    int in = size[0];
    int out = size[size.length - 1];
    List<Isa> sets = new ArrayList<>(Backends.supportedIsas());
    sets.remove(Isa.SCALAR);
    sets.add(null);
    for (int rows : new int[] {0, 1, 3, 15, 16, 17, 31, 32, 33, 64, 100}) {
      float[] x = new float[rows * in];
      for (int i = 0; i < x.length; i++) {
        x[i] = (float) random.nextGaussian();
      }
      float[] expected = x;
      for (Layer layer : layers) {
        try (SmallDenseStep step = new SmallDenseStep(List.of(layer), 1, null)) {
          expected = run(step, expected, rows, layer.out());
        }
      }
      float[] later = new float[x.length + 3];
      System.arraycopy(x, 0, later, 3, x.length);
      for (Isa isa : sets) {
        try (SmallDenseStep step = new SmallDenseStep(layers, 1, isa);
            Step.Runner runner = step.newRunner(rows)) {
          assertArrayEquals(expected, run(step, x, rows, out), isa + ", rows: " + rows);
          float[] y = new float[rows * out + 7];
          ((Step.Anywhere) runner).run(later, 3, y, 5, rows);
          assertArrayEquals(expected, Arrays.copyOfRange(y, 5, 5 + rows * out));
          assertEquals(0, y[4]);
          assertEquals(0, y[5 + rows * out]);
        }
      }
    }
  }

  @Test
  void wideLayersAreStepsOfTheirOwn() {
    try (Linear narrow = new Linear(128, 64);
        Linear wide = new Linear(64, 129);
        Linear behind = new Linear(129, 2);
        Linear last = new Linear(64, 2)) {
      Layer first = Layer.of(narrow, true);
      assertTrue(SmallDenseStep.canFollow(List.of(), Layer.of(wide, true)));
      assertTrue(SmallDenseStep.canFollow(List.of(first), Layer.of(last, true)));
      assertFalse(SmallDenseStep.canFollow(List.of(first, first), first));
      assertFalse(SmallDenseStep.canFollow(List.of(first), Layer.of(wide, true)));
      assertFalse(SmallDenseStep.canFollow(List.of(Layer.of(wide, true)), Layer.of(behind, false)));
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
