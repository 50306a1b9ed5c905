package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.batchnorm4j.tensor.DType;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every output of every backend has the bits of {@link Textbook}. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class TextbookTest {

  /**
   * Shapes that the loops have to tell apart: a row, a chunk, a block and a segment, each not full,
   * full and one more; rows of memory shorter and longer than a block.
   */
  private static final int[][] SHAPES = {
    {1, 3, 1},
    {1, 1, 2},
    {2, 3, 1},
    {3, 2, 1},
    {5, 3, 3},
    {1, 5, 15},
    {16, 4, 1},
    {17, 2, 1},
    {1, 7, 16},
    {2, 130, 8},
    {1, 2, 255},
    {8, 3, 32},
    {257, 5, 1},
    {1, 1, 257},
    {9, 40, 49},
    {2, 300, 9},
    {3, 2, 400},
    {2, 3, 1500},
    {1, 1, 256 * 33 + 7},
    {7, 1, 2341},
    {1, 2, 256 * 64},
    {256 * 64 + 1, 2, 1},
    {1, 2, 256 * 130},
    {33, 1, 1024},
    {2, 1030, 2},
    {4, 1, 3},
    {40, 257, 1},
  };

  /** What the book says, which is slow to find out and the same for all backends. */
  private record Sample(Case given, Case.Results expected, Case.Memory memory) {}

  private final List<Sample> inF32 = new ArrayList<>();
  private final List<Sample> inF64 = new ArrayList<>();
  private final List<Sample> sweep = new ArrayList<>();

  @BeforeAll
  void computeByTheBook() {
    for (int[] shape : SHAPES) {
      inF32.add(sample(DType.F32, shape, new Random(7)));
      inF64.add(sample(DType.F64, shape, new Random(8)));
    }
    Random random = new Random(20260101);
    while (sweep.size() < 200) {
      DType dtype = DType.values()[random.nextInt(4)];
      int n = 1 + (int) Math.exp(random.nextDouble() * 5);
      int c = 1 + (int) Math.exp(random.nextDouble() * 4);
      int s = 1 + (int) Math.exp(random.nextDouble() * 6);
      if (n * c * s <= 20_000) {
        sweep.add(sample(dtype, new int[] {n, c, s}, random));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void shapesInF32(BatchNormBackend backend) {
    check(backend, inF32);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void shapesInF64(BatchNormBackend backend) {
    check(backend, inF64);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void randomSweep(BatchNormBackend backend) {
    check(backend, sweep);
  }

  private static void check(BatchNormBackend backend, List<Sample> samples) {
    for (Sample sample : samples) {
      for (Layout layout : Layout.values()) {
        String what = sample.given + " " + layout + " " + sample.memory;
        assertBits(sample.expected, sample.given.run(backend, layout, sample.memory), what);
      }
    }
  }

  private static Sample sample(DType dtype, int[] shape, Random random) {
    Case c = new Case(dtype, shape[0], shape[1], shape[2], random);
    scatter(c, random);
    if (random.nextBoolean()) {
      c.residual = c.data(random);
    }
    if (random.nextInt(4) == 0) {
      c.weight = null;
    }
    if (random.nextInt(4) == 0) {
      c.bias = null;
    }
    c.activation =
        switch (random.nextInt(3)) {
          case 0 -> Activation.NONE;
          case 1 -> Activation.RELU;
          default -> Activation.leakyRelu(random.nextBoolean() ? 0.01 : 1.7);
        };
    c.eps = random.nextBoolean() ? 1e-5 : 1e-3;
    c.momentum = random.nextBoolean() ? 0.1 : 1.7;
    return new Sample(c, textbook(c), Case.Memory.values()[random.nextInt(4)]);
  }

  /**
   * Channels of all kinds: far from zero, tiny, huge, constant, with values that are not numbers.
   */
  private static void scatter(Case c, Random random) {
    for (int i = 0; i < c.c; i++) {
      double[] v = c.channel(c.x, i);
      double[] g = c.channel(c.dy, i);
      int kind = random.nextInt(12);
      for (int j = 0; j < v.length; j++) {
        double z = v[j];
        v[j] =
            c.rounded(
                switch (kind) {
                  case 0 -> 1000 + z;
                  case 1 -> z * 1e-20;
                  case 2 -> z * 1e30;
                  case 3 -> 0.3;
                  case 4 -> Math.max(z, 0);
                  case 5 -> j == v.length / 2 ? Double.POSITIVE_INFINITY : z;
                  case 6 -> j == v.length - 1 ? Double.NaN : z;
                  case 7 -> j % 97 == 0 ? z * 1e15 : z;
                  default -> z;
                });
        g[j] = c.rounded(kind == 8 ? 0 * g[j] : kind == 9 ? g[j] * 1e-30 : g[j]);
      }
      c.setChannel(c.x, i, v);
      c.setChannel(c.dy, i, g);
      if (kind == 10) {
        // Products of -0 and sums that vanish.
        c.weight[i] = 0;
        c.bias[i] = -0.0;
      }
      if (kind == 11) {
        c.runningVar[i] = c.parameter(1e-30);
      }
    }
  }

  static Case.Results textbook(Case c) {
    Textbook book = new Textbook(c.dtype == DType.F64);
    int size = c.x.length;
    Case.Forward training =
        new Case.Forward(
            new double[size],
            new double[c.c],
            new double[c.c],
            new double[c.c],
            new double[c.c],
            new double[c.c]);
    Case.Forward inference = new Case.Forward(new double[size], null, null, null, null, null);
    Case.Backward backwardTraining = gradients(c);
    Case.Backward backwardInference = gradients(c);
    for (int i = 0; i < c.c; i++) {
      double weight = c.weight == null ? 1 : c.weight[i];
      double bias = c.bias == null ? 0 : c.bias[i];
      double[] x = c.channel(c.x, i);
      double[] dy = c.channel(c.dy, i);
      double[] residual = c.residual == null ? null : c.channel(c.residual, i);

      Textbook.Statistics st =
          book.statistics(x, c.eps, c.momentum, c.runningMean[i], c.runningVar[i]);
      training.mean()[i] = st.mean();
      training.meanLow()[i] = st.meanLow();
      training.invStd()[i] = st.invStd();
      training.runningMean()[i] = st.runningMean();
      training.runningVar()[i] = st.runningVar();
      channel(
          c,
          book,
          i,
          true,
          x,
          residual,
          dy,
          st.mean(),
          st.meanLow(),
          st.invStd(),
          weight,
          bias,
          training,
          backwardTraining);

      double invStd = book.inferenceInvStd(c.runningVar[i], c.eps);
      channel(
          c,
          book,
          i,
          false,
          x,
          residual,
          dy,
          c.runningMean[i],
          0,
          invStd,
          weight,
          bias,
          inference,
          backwardInference);
    }
    return new Case.Results(training, backwardTraining, inference, backwardInference);
  }

  private static void channel(
      Case c,
      Textbook book,
      int i,
      boolean isTraining,
      double[] x,
      double[] residual,
      double[] dy,
      double mean,
      double meanLow,
      double invStd,
      double weight,
      double bias,
      Case.Forward forward,
      Case.Backward backward) {
    double[] y = book.normalize(x, residual, mean, meanLow, invStd, weight, bias, c.activation);
    round(c, y);
    c.setChannel(forward.y(), i, y);
    Textbook.Gradients g =
        book.backward(isTraining, dy, x, y, mean, meanLow, invStd, weight, c.activation);
    round(c, g.dx());
    round(c, g.dresidual());
    c.setChannel(backward.dx(), i, g.dx());
    c.setChannel(backward.dresidual(), i, g.dresidual());
    backward.dweight()[i] = g.dweight();
    backward.dbias()[i] = g.dbias();
  }

  private static Case.Backward gradients(Case c) {
    return new Case.Backward(
        new double[c.x.length], new double[c.x.length], new double[c.c], new double[c.c]);
  }

  private static void round(Case c, double[] values) {
    for (int i = 0; i < values.length; i++) {
      values[i] = c.rounded(values[i]);
    }
  }

  static void assertBits(Case.Results expected, Case.Results actual, String what) {
    assertBits(expected.training(), actual.training(), what + " training");
    assertBits(expected.backwardTraining(), actual.backwardTraining(), what + " backwardTraining");
    assertBits(expected.inference(), actual.inference(), what + " inference");
    assertBits(
        expected.backwardInference(), actual.backwardInference(), what + " backwardInference");
  }

  private static void assertBits(Case.Forward expected, Case.Forward actual, String what) {
    assertBits(expected.mean(), actual.mean(), what + " mean");
    assertBits(expected.meanLow(), actual.meanLow(), what + " meanLow");
    assertBits(expected.invStd(), actual.invStd(), what + " invStd");
    assertBits(expected.runningMean(), actual.runningMean(), what + " runningMean");
    assertBits(expected.runningVar(), actual.runningVar(), what + " runningVar");
    assertBits(expected.y(), actual.y(), what + " y");
  }

  private static void assertBits(Case.Backward expected, Case.Backward actual, String what) {
    assertBits(expected.dweight(), actual.dweight(), what + " dweight");
    assertBits(expected.dbias(), actual.dbias(), what + " dbias");
    assertBits(expected.dx(), actual.dx(), what + " dx");
    assertBits(expected.dresidual(), actual.dresidual(), what + " dresidual");
  }

  /** Equal bits, -0 and +0 told apart, any NaN like any other. */
  static void assertBits(double[] expected, double[] actual, String what) {
    if (expected == null) {
      return;
    }
    for (int i = 0; i < expected.length; i++) {
      if (Double.doubleToLongBits(expected[i]) != Double.doubleToLongBits(actual[i])) {
        assertEquals(expected[i], actual[i], what + "[" + i + "]");
      }
    }
  }
}
