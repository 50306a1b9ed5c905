package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.function.DoubleUnaryOperator;
import org.batchnorm4j.tensor.DType;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The promises of docs/numerics.md, "What that is worth", against exact arithmetic. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class AccuracyTest {

  /**
   * (N, S): less than a row of lanes, one, and one more; a chunk less one, one, one more, several;
   * 65 chunks, of which the last has one value, in segments of two; 130 in segments of three.
   */
  private static final int[][] LENGTHS = {
    {1, 2},
    {3, 1},
    {3, 5},
    {2, 8},
    {1, 17},
    {5, 51},
    {2, 128},
    {1, 257},
    {4, 250},
    {1, 256 * 64 + 1},
    {10, 26 * 128}
  };

  /** Kinds of data, made from standard normal values. */
  private enum Data {
    NORMAL(z -> z),
    MEAN_OF_1E3_DEVIATIONS(z -> 1e3 + z),
    MEAN_OF_1E6_DEVIATIONS(z -> 1e6 + z),
    VARIANCE_1E_30(z -> 1e-15 * z),
    VARIANCE_1E_8(z -> 1e-4 * z),
    VARIANCE_1E8(z -> 1e4 * z),
    MAGNITUDE_1E30(z -> 1e30 * z),
    /** A few values carry the variance. */
    HEAVY_TAILED(z -> Math.exp(3 * z)),
    /** The head of a chunk says little about its mean. */
    SORTED(z -> z),
    /** As of a loss that is a mean: what sums of equal terms lose does not even out. */
    EQUAL_GRADIENTS(z -> z);

    private final DoubleUnaryOperator fromNormal;

    Data(DoubleUnaryOperator fromNormal) {
      this.fromNormal = fromNormal;
    }

    void fill(Case c) {
      for (int channel = 0; channel < c.c; channel++) {
        double[] x = c.channel(c.x, channel);
        for (int i = 0; i < x.length; i++) {
          x[i] = c.rounded(fromNormal.applyAsDouble(x[i]));
        }
        if (this == SORTED) {
          Arrays.sort(x);
        }
        c.setChannel(c.x, channel, x);
        if (this == EQUAL_GRADIENTS) {
          double[] dy = c.channel(c.dy, channel);
          Arrays.fill(dy, dy[0]);
          c.setChannel(c.dy, channel, dy);
        }
      }
    }

    double boundOfDbias() {
      return this == EQUAL_GRADIENTS ? 3 : 1;
    }

    boolean isHarsh() {
      return this == HEAVY_TAILED || this == SORTED;
    }
  }

  /** Exact results are slow to compute and the same for all backends. */
  private final Map<Object, Exact[]> exact = new HashMap<>();

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void staysWithinTheBoundsInF32(BatchNormBackend backend) {
    checkAll(backend, DType.F32, 0x1p-23);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void staysWithinTheBoundsInF64(BatchNormBackend backend) {
    checkAll(backend, DType.F64, 0x1p-52);
  }

  private void checkAll(BatchNormBackend backend, DType dtype, double ulp) {
    for (Data data : Data.values()) {
      for (int[] length : LENGTHS) {
        boolean isLong = length[0] * length[1] > 2000;
        if (isLong && data != Data.NORMAL && data != Data.MEAN_OF_1E6_DEVIATIONS) {
          // Exact arithmetic is slow, and the errors of short channels are larger.
          continue;
        }
        int channels = isLong ? 1 : 4;
        Case c = new Case(dtype, length[0], channels, length[1], new Random(data.ordinal()));
        c.momentum = 1;
        data.fill(c);
        Exact[] expected = exact.computeIfAbsent(c + " " + data, key -> exact(c));
        for (Layout layout : Layout.values()) {
          check(backend, c, layout, expected, data, ulp, c + " " + data + " " + layout);
        }
      }
    }
  }

  private static Exact[] exact(Case c) {
    Exact[] all = new Exact[c.c];
    for (int i = 0; i < c.c; i++) {
      all[i] = new Exact(c.channel(c.x, i), c.channel(c.dy, i), c.weight[i], c.bias[i], c.eps);
    }
    return all;
  }

  private static void check(
      BatchNormBackend backend,
      Case c,
      Layout layout,
      Exact[] expected,
      Data data,
      double ulp,
      String what) {
    boolean harsh = data.isHarsh();
    Case.Forward forward = c.training(backend, layout);
    Case.Backward backward = c.backward(backend, layout, Case.Memory.DENSE, forward);
    for (int channel = 0; channel < c.c; channel++) {
      Exact e = expected[channel];
      double mean = forward.mean()[channel];
      within(c.dtype == DType.F64 ? 2 : 1, e.errorOfMean(mean), e.meanScale * ulp, what, "mean");
      double variance = forward.runningVar()[channel];
      if (c.dtype == DType.F32 && e.variance > Float.MAX_VALUE) {
        assertEquals(Double.POSITIVE_INFINITY, variance);
      } else {
        double error = e.errorOfVariance(variance);
        within(harsh ? 10 : c.n * c.s < 1000 ? 4 : 2, error, e.variance * ulp, what, "variance");
      }
      double[] y = c.channel(forward.y(), channel);
      double[] dx = c.channel(backward.dx(), channel);
      for (int i = 0; i < y.length; i++) {
        within(harsh ? 10 : 4, e.errorOfY(y[i], i), e.yScale[i] * ulp, what, "y");
        within(harsh ? 10 : 5, e.errorOfDx(dx[i], i), e.dxScale[i] * ulp, what, "dx");
      }
      double dweight = backward.dweight()[channel];
      within(3, e.errorOfDweight(dweight), e.dweightScale * ulp, what, "dweight");
      double dbias = backward.dbias()[channel];
      within(data.boundOfDbias(), e.errorOfDbias(dbias), e.dbiasScale * ulp, what, "dbias");
    }
  }

  private static void within(double ulps, double error, double ulp, String what, String output) {
    if (!(error <= ulps * ulp)) {
      assertEquals(0, error / ulp, ulps, what + ": error of " + output + " in ulps of its scale");
    }
  }

  // -------------------------------------------------------------------------------------- extremes

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void aConstantChannelGivesItsBias(BatchNormBackend backend) {
    double[] constants = {0, -1, 0.1f, 1e10f, 3e38f, -1e30f, 1e-40f};
    for (DType dtype : new DType[] {DType.F32, DType.F64}) {
      for (int[] length : LENGTHS) {
        Case c = new Case(dtype, length[0], constants.length, length[1], new Random(3));
        c.momentum = 1;
        for (int i = 0; i < constants.length; i++) {
          double[] x = c.channel(c.x, i);
          Arrays.fill(x, constants[i]);
          c.setChannel(c.x, i, x);
        }
        for (Layout layout : Layout.values()) {
          Case.Forward forward = c.training(backend, layout);
          for (int i = 0; i < constants.length; i++) {
            String what = c + " of " + constants[i];
            assertEquals(constants[i], forward.mean()[i], what);
            assertEquals(0, forward.meanLow()[i], what);
            assertEquals(0, forward.runningVar()[i], what);
            assertEquals(c.parameter(1 / Math.sqrt(c.eps)), forward.invStd()[i], what);
            for (double y : c.channel(forward.y(), i)) {
              assertEquals(c.bias[i], y, what);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void whatIsNotANumberStaysInItsChannel(BatchNormBackend backend) {
    for (double stranger : new double[] {Double.NaN, Double.POSITIVE_INFINITY, -1.0 / 0}) {
      for (int[] length : LENGTHS) {
        for (Layout layout : Layout.values()) {
          checkStranger(backend, stranger, length, layout);
        }
      }
    }
  }

  private static void checkStranger(
      BatchNormBackend backend, double stranger, int[] length, Layout layout) {
    int channels = 3;
    Case c = new Case(DType.F32, length[0], channels, length[1], new Random(4));
    Case.Results clean = c.run(backend, layout);
    // In the middle channel of the last sample.
    int at = ((length[0] - 1) * channels + 1) * length[1] + length[1] / 2;
    c.x[at] = stranger;
    Case.Results actual = c.run(backend, layout);

    for (int i = 0; i < channels; i += 2) {
      assertEquals(clean.training().runningVar()[i], actual.training().runningVar()[i]);
      Case.Backward backward = actual.backwardTraining();
      assertEquals(clean.backwardTraining().dweight()[i], backward.dweight()[i]);
      assertArrayEqualsIn(c, i, clean.training().y(), actual.training().y());
      assertArrayEqualsIn(c, i, clean.backwardTraining().dx(), backward.dx());
    }
    assertTrue(Double.isNaN(actual.training().runningVar()[1]));
    for (double y : c.channel(actual.training().y(), 1)) {
      assertTrue(Double.isNaN(y));
    }
    for (int i = 0; i < c.x.length; i++) {
      double y = actual.inference().y()[i];
      if (i == at) {
        assertEquals(Double.isNaN(stranger), Double.isNaN(y));
        assertTrue(!Double.isFinite(y));
      } else {
        assertEquals(clean.inference().y()[i], y);
      }
      assertEquals(clean.backwardInference().dx()[i], actual.backwardInference().dx()[i]);
    }
  }

  private static void assertArrayEqualsIn(Case c, int channel, double[] expected, double[] actual) {
    assertTrue(Arrays.equals(c.channel(expected, channel), c.channel(actual, channel)));
  }
}
