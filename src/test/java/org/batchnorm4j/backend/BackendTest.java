package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.nn.functional.BatchNormFunctions;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What holds for every backend, beyond the bits of {@link TextbookTest}. */
class BackendTest {
  private static final List<Activation> ACTIVATIONS =
      List.of(Activation.NONE, Activation.RELU, Activation.leakyRelu(0.3));

  /** A channel is a sequence of values; how it is cut into samples is of no account. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void theSplitIntoSamplesDoesNotMatter(BatchNormBackend backend) {
    int values = 1200;
    int channels = 3;
    Case whole = new Case(DType.F32, 1, channels, values, new Random(1));
    whole.activation = Activation.RELU;
    Case.Results expected = whole.run(backend, Layout.NCS);
    for (int n : new int[] {2, 3, 24, 300, 1200}) {
      Case cut = new Case(DType.F32, n, channels, values / n, new Random(1));
      cut.activation = whole.activation;
      cut.weight = whole.weight;
      cut.bias = whole.bias;
      for (int c = 0; c < channels; c++) {
        cut.setChannel(cut.x, c, whole.channel(whole.x, c));
        cut.setChannel(cut.dy, c, whole.channel(whole.dy, c));
        cut.runningMean[c] = whole.runningMean[c];
        cut.runningVar[c] = whole.runningVar[c];
      }
      for (Layout layout : Layout.values()) {
        Case.Results actual = cut.run(backend, layout);
        String what = cut + " " + layout;
        TextbookTest.assertBits(
            expected.training().runningVar(), actual.training().runningVar(), what);
        TextbookTest.assertBits(
            expected.backwardTraining().dweight(), actual.backwardTraining().dweight(), what);
        for (int c = 0; c < channels; c++) {
          TextbookTest.assertBits(
              whole.channel(expected.training().y(), c),
              cut.channel(actual.training().y(), c),
              what);
          TextbookTest.assertBits(
              whole.channel(expected.backwardTraining().dx(), c),
              cut.channel(actual.backwardTraining().dx(), c),
              what);
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void halfTypesAreComputedInF32AndRoundedOnce(BatchNormBackend backend) {
    for (DType dtype : new DType[] {DType.BF16, DType.F16}) {
      Case half = new Case(dtype, 5, 4, 77, new Random(2));
      half.residual = half.data(new Random(3));
      Case single = new Case(DType.F32, 5, 4, 77, new Random(2));
      System.arraycopy(half.x, 0, single.x, 0, half.x.length);
      System.arraycopy(half.dy, 0, single.dy, 0, half.dy.length);
      single.residual = half.residual;
      for (Layout layout : Layout.values()) {
        Case.Results expected = single.run(backend, layout);
        Case.Results actual = half.run(backend, layout);
        rounded(half, expected.training().y(), actual.training().y());
        rounded(half, expected.inference().y(), actual.inference().y());
        rounded(half, expected.backwardTraining().dx(), actual.backwardTraining().dx());
        rounded(half, expected.backwardInference().dx(), actual.backwardInference().dx());
        assertArrayEquals(expected.training().runningVar(), actual.training().runningVar());
        assertArrayEquals(expected.training().meanLow(), actual.training().meanLow());
        assertArrayEquals(
            expected.backwardTraining().dweight(), actual.backwardTraining().dweight());
      }
    }
  }

  private static void rounded(Case half, double[] f32, double[] actual) {
    for (int i = 0; i < f32.length; i++) {
      assertEquals(half.rounded(f32[i]), actual[i]);
    }
  }

  // ------------------------------------------------------------------------------------ gradients

  /** Central differences of sum(y * dy), in f64. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void gradientsAreDerivatives(BatchNormBackend backend) {
    for (boolean training : new boolean[] {true, false}) {
      for (Activation activation : ACTIVATIONS) {
        for (boolean residual : new boolean[] {false, true}) {
          for (Layout layout : Layout.values()) {
            Case c = new Case(DType.F64, 3, 2, 5, new Random(20));
            c.eps = 1e-2;
            c.activation = activation;
            c.residual = residual ? c.data(new Random(21)) : null;
            checkGradients(backend, c, layout, training);
          }
        }
      }
    }
  }

  private static void checkGradients(
      BatchNormBackend backend, Case c, Layout layout, boolean training) {
    Case.Forward forward = c.forward(backend, layout, Case.Memory.DENSE, training);
    Case.Backward backward = c.backward(backend, layout, Case.Memory.DENSE, forward);
    String what = c + " " + layout + (training ? " training " : " inference ");
    compare(backend, c, layout, training, c.x, backward.dx(), what + "dx");
    compare(backend, c, layout, training, c.weight, backward.dweight(), what + "dweight");
    compare(backend, c, layout, training, c.bias, backward.dbias(), what + "dbias");
    if (c.residual != null) {
      compare(backend, c, layout, training, c.residual, backward.dresidual(), what + "dresidual");
    }
  }

  private static void compare(
      BatchNormBackend backend,
      Case c,
      Layout layout,
      boolean training,
      double[] variable,
      double[] gradient,
      String what) {
    double h = 1e-6;
    for (int i = 0; i < variable.length; i++) {
      double before = variable[i];
      variable[i] = before + h;
      double above = loss(backend, c, layout, training);
      variable[i] = before - h;
      double below = loss(backend, c, layout, training);
      variable[i] = before;
      assertEquals((above - below) / (2 * h), gradient[i], 1e-7, what + "[" + i + "]");
    }
  }

  private static double loss(BatchNormBackend backend, Case c, Layout layout, boolean training) {
    double[] y = c.forward(backend, layout, Case.Memory.DENSE, training).y();
    double sum = 0;
    for (int i = 0; i < y.length; i++) {
      sum += y[i] * c.dy[i];
    }
    return sum;
  }

  /** Each gradient alone is what it is among the others. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void gradientsNobodyWantsAreLeftOut(BatchNormBackend backend) {
    Random random = new Random(5);
    for (Layout layout : Layout.values()) {
      MemoryFormat format =
          layout == Layout.NCS ? MemoryFormat.CHANNELS_FIRST : MemoryFormat.CHANNELS_LAST;
      Shape shape = Shape.of(4, 5, 33);
      Problem problem = new Problem(4, 5, 33, layout, DType.F32, Activation.RELU);
      Tensor x = random(format, shape, random);
      Tensor dy = random(format, shape, random);
      Tensor y = random(format, shape, random);
      Tensor mean = random(MemoryFormat.CHANNELS_FIRST, Shape.of(5), random);
      Tensor one = Tensor.zeros(5).fill(1);
      SavedStatistics saved = new SavedStatistics(mean, Tensor.zeros(5), one);
      for (boolean training : new boolean[] {true, false}) {
        double[][] all = new double[4][];
        for (int wanted = -1; wanted < 4; wanted++) {
          @Nullable Tensor[] out = new Tensor[4];
          for (int i = 0; i < 4; i++) {
            if (wanted == -1 || wanted == i) {
              out[i] = i < 2 ? Tensor.zerosLike(x) : Tensor.zeros(5);
            }
          }
          if (training) {
            backend.backwardTraining(
                problem, dy, x, y, null, null, saved, out[0], out[1], out[2], out[3]);
          } else {
            backend.backwardInference(
                problem, dy, x, y, null, null, mean, one, 1e-5, out[0], out[1], out[2], out[3]);
          }
          for (int i = 0; i < 4; i++) {
            if (wanted == -1) {
              all[i] = out[i].toDoubleArray();
            } else if (wanted == i) {
              assertArrayEquals(all[i], out[i].toDoubleArray());
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void sumsOverNoValuesAreZero(BatchNormBackend backend) {
    Tensor none = Tensor.zeros(0, 2, 3);
    Tensor sumDy = Tensor.zeros(DType.F64, 2).fill(7);
    Tensor dot = Tensor.zeros(DType.F64, 2).fill(8);
    backend.gradientSums(
        Problem.of(none, Activation.NONE),
        none,
        none,
        null,
        SavedStatistics.allocate(DType.F32, 2),
        sumDy,
        dot);
    assertArrayEquals(new double[2], sumDy.toDoubleArray());
    assertArrayEquals(new double[2], dot.toDoubleArray());
  }

  /** However many values there are, also where they fill no vector. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void anInfiniteMeanMakesAnInfiniteGradient(BatchNormBackend backend) {
    for (MemoryFormat format : MemoryFormat.values()) {
      for (int s : new int[] {2, 17, 300}) {
        Tensor x = Tensor.zeros(DType.F32, format, Shape.of(1, 2, s));
        Tensor dy = Tensor.zerosLike(x).fill(1);
        Tensor mean = Tensor.of(new float[] {Float.POSITIVE_INFINITY, 0.5f}, 2);
        Tensor one = Tensor.zeros(2).fill(1);
        Tensor dweight = Tensor.zeros(2);
        Problem problem = Problem.of(x, Activation.NONE);
        backend.backwardInference(
            problem, dy, x, null, null, null, mean, one, 0, null, null, dweight, null);
        assertArrayEquals(
            new double[] {Double.NEGATIVE_INFINITY, -0.5 * s}, dweight.toDoubleArray());
      }
    }
  }

  /** Half of the least positive number is stored as 0: a mask without y must know. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void whatIsStoredAsZeroIsNotPositive(BatchNormBackend backend) {
    Map<DType, Double> least =
        Map.of(DType.BF16, 0x1p-133, DType.F16, 0x1p-24, DType.F32, 0x1p-149, DType.F64, 0x1p-1074);
    least.forEach(
        (dtype, smallest) -> {
          // Times the weight: half of the least number and less, more, and the least itself.
          double[] values = {0.5, 1, 1.0078125, 1.5, -1, 2};
          boolean half = dtype == DType.BF16 || dtype == DType.F16;
          Tensor x = Tensor.zeros(dtype, 1, 6).copyFrom(values);
          Tensor y = Tensor.zeros(dtype, 1, 6);
          Tensor zero = Tensor.zeros(dtype.parameterType(), 6);
          Tensor one = Tensor.zeros(dtype.parameterType(), 6).fill(1);
          Tensor weight =
              Tensor.zeros(dtype.parameterType(), 6).fill(half ? smallest / 2 : smallest);
          Problem problem = new Problem(1, 6, 1, Layout.NSC, dtype, Activation.RELU);
          backend.inference(problem, x, null, y, zero, one, weight, null, 0);
          assertEquals(0, y.get(0, 0));
          assertEquals(half ? 0 : smallest, y.get(0, 1));
          assertEquals(smallest, y.get(0, 2));
          double[][] dbias = new double[2][];
          for (int i = 0; i < 2; i++) {
            Tensor sums = Tensor.zeros(dtype.parameterType(), 6);
            backend.backwardInference(
                problem,
                x,
                x,
                i == 0 ? y : null,
                weight,
                null,
                zero,
                one,
                0,
                null,
                null,
                null,
                sums);
            dbias[i] = sums.toDoubleArray();
          }
          assertArrayEquals(dbias[0], dbias[1], dtype + " on " + backend.name());
        });
  }

  private static Tensor random(MemoryFormat format, Shape shape, Random random) {
    double[] values = random.doubles(shape.size(), -1, 1).toArray();
    return Tensor.zeros(DType.F32, format, shape).copyFrom(values);
  }

  // ---------------------------------------------------------------------------------------- edges

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void anEmptyBatchChangesNothing(BatchNormBackend backend) {
    for (int[] size : new int[][] {{0, 3, 4}, {5, 3, 0}, {0, 3, 1}}) {
      for (Layout layout : Layout.values()) {
        Case c = new Case(DType.F32, size[0], size[1], size[2], new Random(6));
        // With invStd infinite, 0 * invStd would not be 0.
        c.eps = 0;
        c.runningVar[0] = 0;
        Case.Results actual = c.run(backend, layout);
        assertArrayEquals(c.runningMean, actual.training().runningMean());
        assertArrayEquals(c.runningVar, actual.training().runningVar());
        assertArrayEquals(new double[3], actual.training().invStd());
        for (Case.Backward b : List.of(actual.backwardTraining(), actual.backwardInference())) {
          assertArrayEquals(new double[3], b.dweight());
          assertArrayEquals(new double[3], b.dbias());
        }
      }
    }
  }

  /** Running statistics are optional, and may be the tensors of weight and bias. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void runningStatisticsAreWrittenLast(BatchNormBackend backend) {
    Case c = new Case(DType.F32, 6, 40, 9, new Random(8));
    System.arraycopy(c.weight, 0, c.runningVar, 0, c.c);
    System.arraycopy(c.bias, 0, c.runningMean, 0, c.c);
    Case.Forward expected = c.training(backend, Layout.NCS);
    Tensor x = Tensor.zeros(6, 40, 9).copyFrom(c.x);
    Tensor y = Tensor.zeros(6, 40, 9);
    Tensor weight = c.parameters(c.weight);
    Tensor bias = c.parameters(c.bias);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, 40);
    Problem problem = c.problem(Layout.NCS);

    backend.training(problem, x, null, y, weight, bias, c.eps, saved, null, null, c.momentum);
    assertArrayEquals(expected.y(), y.toDoubleArray());
    assertArrayEquals(c.weight, weight.toDoubleArray());

    backend.training(problem, x, null, y, weight, bias, c.eps, saved, bias, weight, c.momentum);
    assertArrayEquals(expected.y(), y.toDoubleArray());
    assertArrayEquals(expected.runningMean(), bias.toDoubleArray());
    assertArrayEquals(expected.runningVar(), weight.toDoubleArray());
  }

  /** The signs of y are the mask, and a step alone is not given what they come from. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void stepsOfAnActivationNeedTheOutput(BatchNormBackend backend) {
    Tensor x = Tensor.zeros(2, 3, 4).fill(1);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, 3);
    Tensor sums = Tensor.zeros(DType.F64, 3).fill(7);
    Problem problem = Problem.of(x, Activation.RELU);
    assertThrows(
        IllegalArgumentException.class,
        () -> backend.gradientSums(problem, x, x, null, saved, sums, sums));
    assertThrows(
        IllegalArgumentException.class,
        () -> backend.inputGradient(problem, x, x, null, null, saved, sums, sums, 8, x, null));
    assertArrayEquals(new double[] {7, 7, 7}, sums.toDoubleArray());
  }

  /** Memory that is mapped to be read only would end the process. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void outputsThatCanOnlyBeReadAreRefused(BatchNormBackend backend) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(4 * 24).asReadOnlyBuffer();
    Tensor readOnly = Tensor.wrap(bytes.order(ByteOrder.nativeOrder()), DType.F32, 2, 3, 4);
    Tensor x = Tensor.zeros(2, 3, 4);
    Tensor one = Tensor.zeros(3).fill(1);
    assertThrows(
        IllegalArgumentException.class,
        () ->
            backend.inference(
                Problem.of(x, Activation.NONE), x, null, readOnly, one, one, null, null, 1e-5));
  }

  /** Native code must not go where a tensor is not, whoever calls. */
  @Test
  void nativeCallsAreForTensorsThatHoldTheProblem() {
    assumeTrue(NativeLibrary.isLoaded(), "the native library is switched off");
    BatchNormBackend backend = Backends.nativeBackend();
    Tensor x = Tensor.zeros(2, 3, 4).fill(1);
    Tensor y = Tensor.zeros(2, 3, 4);
    Tensor channels = Tensor.zeros(3).fill(1);
    Tensor two = Tensor.zeros(2).fill(1);
    Problem fits = Problem.of(x, Activation.NONE);
    backend.inference(fits, x, null, y, channels, channels, null, null, 1);
    float[] before = y.toFloatArray();
    Problem more = new Problem(3, 3, 4, Layout.NCS, DType.F32, Activation.NONE);
    Problem longer = new Problem(2, 3, 5, Layout.NCS, DType.F32, Activation.NONE);
    Problem huge =
        new Problem(1L << 40, 1L << 40, 1L << 40, Layout.NSC, DType.F32, Activation.NONE);
    Problem wider = new Problem(2, 3, 4, Layout.NCS, DType.F64, Activation.NONE);
    for (Problem problem : List.of(more, longer, huge, wider)) {
      assertThrows(
          IllegalArgumentException.class,
          () -> backend.inference(problem, x, null, y, channels, channels, null, null, 1),
          problem::toString);
      assertThrows(
          IllegalArgumentException.class,
          () ->
              backend.backwardInference(
                  problem, x, x, null, null, null, channels, channels, 1, y, null, null, null),
          problem::toString);
    }
    Tensor gaps = Tensor.zeros(2, 6, 4).narrow(1, 0, 3);
    backend.inference(fits, gaps, null, gaps, channels, channels, null, null, 1);
    assertThrows(
        IllegalArgumentException.class,
        () ->
            backend.inference(fits, x, gaps.narrow(0, 0, 1), y, channels, channels, null, null, 1));
    assertThrows(
        IllegalArgumentException.class,
        () -> backend.inference(fits, x, null, y, channels, two, null, null, 1));
    assertThrows(
        IllegalArgumentException.class,
        () -> backend.statistics(fits, x, channels, channels),
        "moments are doubles");
    assertArrayEquals(before, y.toFloatArray());
  }

  @Test
  void activationsHaveTheirSlopes() {
    assertEquals(Activation.RELU, new Activation(Activation.Kind.RELU, 0));
    for (double slope : new double[] {-0.5, 0, 1e300, Double.NaN}) {
      assertEquals(
          "slope must be > 0 and at most 3.4028235E38, but got " + slope,
          assertThrows(
                  IllegalArgumentException.class,
                  () -> new Activation(Activation.Kind.LEAKY_RELU, slope))
              .getMessage());
    }
    assertThrows(IllegalArgumentException.class, () -> new Activation(Activation.Kind.RELU, 0.5));
    assertThrows(IllegalArgumentException.class, () -> new Activation(Activation.Kind.NONE, 0));
  }

  /** With one position per sample there is one layout. */
  @Test
  void onePositionIsChannelsLast() {
    Problem rows = new Problem(4, 5, 1, Layout.NSC, DType.F32, Activation.NONE);
    assertEquals(rows, new Problem(4, 5, 1, Layout.NCS, DType.F32, Activation.NONE));
    assertEquals(rows, Problem.of(Tensor.zeros(4, 5), Activation.NONE));
    assertEquals(rows, Problem.of(Tensor.zeros(4, 5, 1), Activation.NONE));
    Problem planes = Problem.of(Tensor.zeros(4, 5, 2), Activation.NONE);
    assertEquals(Layout.NCS, planes.layout());
  }

  /** From some channels of a tensor into the next ones, which lie between those of two samples. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void intoTheChannelsBesideTheInput(BatchNormBackend backend) {
    BatchNormBackend java = Backends.javaBackend();
    for (DType dtype : List.of(DType.F32, DType.F64, DType.BF16)) {
      for (MemoryFormat format : MemoryFormat.values()) {
        // Without threads, and with them.
        for (int[] size : new int[][] {{3, 5, 7}, {8, 21, 400}, {16, 24, 700}}) {
          int n = size[0];
          int c = size[1];
          Tensor wide = Tensor.zeros(dtype, format, Shape.of(n, 4L * c, size[2]));
          Random random = new Random(1);
          double[] values = new double[(int) wide.size()];
          for (int i = 0; i < values.length; i++) {
            values[i] = random.nextGaussian();
          }
          wide.copyFrom(values);
          Tensor x = wide.narrow(1, c, c);
          Tensor out = wide.narrow(1, 2L * c, c);
          Tensor first = wide.narrow(1, 0, c);
          Tensor last = wide.narrow(1, 3L * c, c);
          String what = dtype + " " + format + " " + x;

          Tensor apart = x.to(format);
          Tensor expected = Tensor.zerosLike(apart);
          SavedStatistics saved = SavedStatistics.allocate(dtype.parameterType(), c);
          train(java, apart, apart, saved, expected);
          train(backend, x, x, saved, out);
          assertSameValues(expected, out, what);
          // The gradient of the first channels' into those behind the last output.
          Tensor dy = first.to(format);
          Tensor dx = Tensor.zerosLike(dy);
          differentiate(java, dy, apart, saved, dx);
          differentiate(backend, first, x, saved, last);
          assertSameValues(dx, last, what);
          assertSameValues(apart, x, what);
          assertSameValues(dy, first, what);
          // One channel further on they have some in common.
          assertThrows(
              IllegalArgumentException.class,
              () -> train(backend, x, x, saved, wide.narrow(1, 2L * c - 1, c)));
        }
      }
    }
  }

  private static void train(
      BatchNormBackend backend, Tensor x, Tensor residual, SavedStatistics saved, Tensor out) {
    BatchNormFunctions.batchNormTraining(
        x, residual, null, null, null, null, 0, 1e-5, Activation.RELU, backend, saved, out);
  }

  private static void differentiate(
      BatchNormBackend backend, Tensor dy, Tensor x, SavedStatistics saved, Tensor dx) {
    BatchNormFunctions.batchNormBackwardTraining(
        dy, x, null, null, null, saved, Activation.NONE, backend, dx, null, null, null);
  }

  private static void assertSameValues(Tensor expected, Tensor actual, String what) {
    assertArrayEquals(expected.toDoubleArray(), actual.toDoubleArray(), what);
  }
}
