package org.batchnorm4j.nn.functional;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.PyTorch;
import org.batchnorm4j.stats.ChannelStatistics;
import org.batchnorm4j.stats.GradientSums;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Workers with parts of a batch against PyTorch, and our BatchNorm1d, with all of it. */
class SyncBatchNormFunctionsTest {
  private static final double EPS = 1e-3;
  private static final double MOMENTUM = 0.3;
  private static final int C = 5;

  /** Sizes of the workers' parts of 12 samples; an empty one, and single ones, are legal. */
  private static final int[][] SPLITS = {{12}, {7, 5}, {1, 0, 3, 1, 7}};

  private static Tensor parameter(long seed, DType dtype) {
    return PyTorch.random(seed, dtype, MemoryFormat.CHANNELS_FIRST, C);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F64", "BF16", "F16"})
  void partsGiveWhatTheWholeGives(DType dtype) {
    for (long spatial : new long[] {1, 1100}) {
      for (MemoryFormat format : MemoryFormat.values()) {
        for (int[] split : SPLITS) {
          for (boolean affine : new boolean[] {true, false}) {
            check(dtype, spatial, format, split, affine);
          }
        }
      }
    }
  }

  private static void check(
      DType dtype, long spatial, MemoryFormat format, int[] split, boolean affine) {
    DType type = dtype.parameterType();
    // Half types round outputs to 2^-9 and 2^-12.
    double tolerance =
        switch (dtype) {
          case F64 -> 1e-13;
          case F32 -> 1e-6;
          case BF16 -> 0x1p-8;
          default -> 0x1p-11;
        };
    double ofStatistics = dtype == DType.F64 ? 1e-13 : 1e-6;
    Tensor x = PyTorch.random(1, dtype, format, 12, C, spatial);
    // In the other format, as gradients may be.
    MemoryFormat other = MemoryFormat.values()[1 - format.ordinal()];
    Tensor dy = PyTorch.random(2, dtype, other, 12, C, spatial);
    Tensor weight = affine ? parameter(3, type) : null;
    Tensor bias = affine ? parameter(4, type) : null;
    Tensor runningMean = parameter(5, type);
    Tensor runningVar = Tensor.zeros(type, C).fill(2);

    org.bytedeco.pytorch.Tensor input = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor w = affine ? PyTorch.leaf(weight) : null;
    org.bytedeco.pytorch.Tensor b = affine ? PyTorch.leaf(bias) : null;
    org.bytedeco.pytorch.Tensor mean = PyTorch.leaf(runningMean).detach();
    org.bytedeco.pytorch.Tensor var = PyTorch.leaf(runningVar).detach();
    org.bytedeco.pytorch.Tensor output =
        torch.batch_norm(
            input,
            PyTorch.optional(w),
            PyTorch.optional(b),
            PyTorch.optional(mean),
            PyTorch.optional(var),
            true,
            MOMENTUM,
            EPS,
            false);
    PyTorch.backward(output, dy);

    // The workers.
    Tensor y = Tensor.zerosLike(x);
    Tensor dx = Tensor.zerosLike(x);
    List<SavedStatistics> saved = new ArrayList<>();
    ChannelStatistics statistics = new ChannelStatistics(C);
    for (int i = 0; i < split.length; i++) {
      saved.add(SavedStatistics.allocate(type, C));
      statistics.merge(ChannelStatistics.of(part(x, split, i)));
    }
    for (int i = 0; i < split.length; i++) {
      Tensor out = part(y, split, i);
      assertSame(
          out,
          SyncBatchNormFunctions.syncBatchNorm(
              part(x, split, i), statistics, weight, bias, EPS, saved.get(i), out));
    }
    statistics.updateRunningStats(runningMean, runningVar, MOMENTUM);
    GradientSums sums = new GradientSums(0, new double[C], new double[C]);
    for (int i = 0; i < split.length; i++) {
      sums.merge(
          SyncBatchNormFunctions.syncBatchNormGradientSums(
              part(dy, split, i), part(x, split, i), saved.get(i)));
    }
    for (int i = 0; i < split.length; i++) {
      SyncBatchNormFunctions.syncBatchNormBackward(
          part(dy, split, i), part(x, split, i), weight, saved.get(i), sums, part(dx, split, i));
    }

    PyTorch.assertClose("y", output, y, tolerance);
    PyTorch.assertClose("dx", PyTorch.grad(input), dx, tolerance);
    PyTorch.assertClose("running_mean", mean, runningMean, ofStatistics);
    PyTorch.assertClose("running_var", var, runningVar, ofStatistics);
    if (affine) {
      Tensor dweight = Tensor.zeros(type, C);
      Tensor dbias = Tensor.zeros(type, C);
      SyncBatchNormFunctions.syncBatchNormParameterGradients(sums, saved.get(0), dweight, dbias);
      PyTorch.assertClose("dweight", PyTorch.grad(w), dweight, ofStatistics);
      PyTorch.assertClose("dbias", PyTorch.grad(b), dbias, ofStatistics);
    }

    BatchNorm1d bn =
        BatchNorm1d.builder(C).eps(EPS).momentum(MOMENTUM).affine(affine).dtype(type).build();
    if (affine) {
      bn.weight().value().copyFrom(weight);
      bn.bias().value().copyFrom(bias);
    }
    PyTorch.assertClose("BatchNorm1d", bn.forward(x).toDoubleArray(), y.toDoubleArray(), tolerance);
    PyTorch.assertClose("its dx", bn.backward(dy).toDoubleArray(), dx.toDoubleArray(), tolerance);
  }

  private static Tensor part(Tensor t, int[] split, int i) {
    int from = 0;
    for (int k = 0; k < i; k++) {
      from += split[k];
    }
    return t.narrow(0, from, split[i]);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void sameBitsEverywhere(BatchNormBackend backend) {
    Tensor x = PyTorch.random(1, 3, C, 700);
    Tensor dy = PyTorch.random(2, 3, C, 700);
    float[] expected = run(Backends.javaBackend(), x, dy);
    assertArrayEquals(expected, run(backend, x, dy));
    Tensor last = x.to(MemoryFormat.CHANNELS_LAST);
    assertArrayEquals(expected, run(backend, last, dy));
  }

  /** Output and gradient of the first two of three samples. */
  private static float[] run(BatchNormBackend backend, Tensor x, Tensor dy) {
    Tensor weight = parameter(3, DType.F32);
    ChannelStatistics statistics = new ChannelStatistics(C).add(x, backend);
    Tensor mine = x.narrow(0, 0, 2);
    Tensor myGradient = dy.narrow(0, 0, 2);
    Tensor results = Tensor.zeros(DType.F32, x.format(), Shape.of(4, C, 700));
    try (SavedStatistics saved = SavedStatistics.allocate(DType.F32, C)) {
      SyncBatchNormFunctions.syncBatchNorm(
          mine, statistics, weight, null, EPS, backend, saved, results.narrow(0, 0, 2));
      GradientSums sums =
          SyncBatchNormFunctions.syncBatchNormGradientSums(myGradient, mine, saved, backend);
      SyncBatchNormFunctions.syncBatchNormBackward(
          myGradient, mine, weight, saved, sums, backend, results.narrow(0, 2, 2));
    }
    return results.toFloatArray();
  }

  @Test
  void inPlace() {
    Tensor x = PyTorch.random(1, 4, C, 3);
    Tensor weight = parameter(2, DType.F32);
    ChannelStatistics statistics = ChannelStatistics.of(x);
    try (SavedStatistics saved = SavedStatistics.allocate(DType.F32, C)) {
      Tensor y = Tensor.zerosLike(x);
      SyncBatchNormFunctions.syncBatchNorm(x, statistics, weight, null, EPS, saved, y);
      Tensor dy = PyTorch.random(3, 4, C, 3);
      GradientSums sums = SyncBatchNormFunctions.syncBatchNormGradientSums(dy, x, saved);
      Tensor dx = Tensor.zerosLike(x);
      SyncBatchNormFunctions.syncBatchNormBackward(dy, x, weight, saved, sums, dx);
      SyncBatchNormFunctions.syncBatchNormBackward(dy, x, weight, saved, sums, dy);
      assertArrayEquals(dx.toFloatArray(), dy.toFloatArray());
      SyncBatchNormFunctions.syncBatchNorm(x, statistics, weight, null, EPS, saved, x);
      assertArrayEquals(y.toFloatArray(), x.toFloatArray());
    }
  }

  @Test
  void errorsNameTheCulpritAndNothingIsWritten() {
    Tensor x = PyTorch.random(1, 4, C, 3);
    Tensor out = Tensor.zerosLike(x);
    ChannelStatistics statistics = ChannelStatistics.of(x);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, C);
    refused(
        "statistics are of 4 channels, but x has 5",
        () -> forward(x, new ChannelStatistics(4), 1, saved, out));
    String include =
        "Expected more than 1 value per channel when training, and statistics that include x: got"
            + " input size torch.Size(";
    refused(
        include + "[4, 5, 3]) and statistics of 9 values",
        () -> forward(x, ChannelStatistics.of(x.narrow(0, 0, 3)), 1, saved, out));
    Tensor one = PyTorch.random(1, 1, C);
    refused(
        include + "[1, 5]) and statistics of 1 values",
        () -> forward(one, ChannelStatistics.of(one), 1, saved, Tensor.zerosLike(one)));
    refused(
        "batch_norm eps must be positive during training, but got 0.0",
        () -> forward(x, statistics, 0, saved, out));
    refused(
        "out has shape [4, 5], expected that of x, [4, 5, 3]",
        () -> forward(x, statistics, 1, saved, Tensor.zeros(4, 5)));
    refused(
        "weight should contain 5 elements not 4",
        () ->
            SyncBatchNormFunctions.syncBatchNorm(
                x, statistics, Tensor.zeros(4), null, 1, saved, out));
    refused(
        "saved.mean shares memory with bias; it must have memory of its own",
        () ->
            SyncBatchNormFunctions.syncBatchNorm(x, statistics, null, saved.mean(), 1, saved, out));
    refused(
        "saved.mean should contain 5 elements not 4",
        () -> forward(x, statistics, 1, SavedStatistics.allocate(DType.F32, 4), out));
    assertArrayEquals(new float[C], saved.invStd().toFloatArray());
    assertArrayEquals(new float[4 * C * 3], out.toFloatArray());

    float[] expected = forward(x, statistics, EPS, saved, Tensor.zerosLike(x)).toFloatArray();
    Tensor heap = Tensor.wrap(x.toFloatArray(), 4, C, 3);
    assertArrayEquals(
        expected,
        forward(heap, ChannelStatistics.of(heap), EPS, saved, Tensor.zerosLike(x)).toFloatArray());
    Tensor dy = PyTorch.random(2, 4, C, 3);
    GradientSums sums = SyncBatchNormFunctions.syncBatchNormGradientSums(dy, x, saved);
    refused(
        "dy has shape [4, 5], expected that of x, [4, 5, 3]",
        () -> SyncBatchNormFunctions.syncBatchNormGradientSums(Tensor.zeros(4, 5), x, saved));
    refused(
        "sums are of 11 values per channel, but x alone has 12: merge those of all workers",
        () ->
            SyncBatchNormFunctions.syncBatchNormBackward(
                dy, x, null, saved, new GradientSums(11, new double[C], new double[C]), out));
    refused(
        "sums are of 1 channels, but x has 5",
        () ->
            SyncBatchNormFunctions.syncBatchNormBackward(
                dy, x, null, saved, new GradientSums(12, new double[1], new double[1]), out));
    refused(
        "dx overlaps x in part; it must be exactly the same memory, or other memory",
        () ->
            SyncBatchNormFunctions.syncBatchNormBackward(
                dy.narrow(0, 0, 3), x.narrow(0, 0, 3), null, saved, sums, x.narrow(0, 1, 3)));
    refused(
        "dbias should contain 5 elements not 6",
        () ->
            SyncBatchNormFunctions.syncBatchNormParameterGradients(
                sums, saved, null, Tensor.zeros(6)));
    refused(
        "dweight is F64, expected the type of saved, F32",
        () ->
            SyncBatchNormFunctions.syncBatchNormParameterGradients(
                sums, saved, Tensor.zeros(DType.F64, C), null));
    assertArrayEquals(new float[4 * C * 3], out.toFloatArray());
  }

  private static Tensor forward(
      Tensor x, ChannelStatistics statistics, double eps, SavedStatistics saved, Tensor out) {
    return SyncBatchNormFunctions.syncBatchNorm(x, statistics, null, null, eps, saved, out);
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
