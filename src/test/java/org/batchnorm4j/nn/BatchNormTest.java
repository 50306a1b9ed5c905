package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Supplier;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class BatchNormTest {
  private static final String BACKENDS = "org.batchnorm4j.TestBackends#all";

  private static Tensor random(int seed, long... shape) {
    return random(DType.F32, MemoryFormat.CHANNELS_FIRST, seed, shape);
  }

  private static Tensor random(DType dtype, MemoryFormat format, int seed, long... shape) {
    Random random = new Random(seed);
    Shape s = Shape.of(shape);
    double[] values = new double[(int) s.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextGaussian() * 2 + 3;
    }
    return Tensor.zeros(dtype, format, s).copyFrom(values);
  }

  private static Map<String, double[]> state(BatchNorm bn) {
    Map<String, double[]> state = new LinkedHashMap<>();
    bn.stateDict().forEach((name, t) -> state.put(name, t.toDoubleArray()));
    bn.namedParameters().forEach((name, p) -> state.put(name + ".grad", p.grad().toDoubleArray()));
    return state;
  }

  private static void assertSameState(Map<String, double[]> expected, BatchNorm bn) {
    Map<String, double[]> now = state(bn);
    assertEquals(expected.keySet(), now.keySet());
    expected.forEach((name, values) -> assertArrayEquals(values, now.get(name), name));
  }

  // --------------------------------------------------------------------------------- construction

  @Test
  void defaultsArePyTorchs() {
    BatchNorm2d bn = new BatchNorm2d(5);
    assertEquals(5, bn.numFeatures());
    assertEquals(1e-5, bn.eps());
    assertEquals(0.1, bn.momentum());
    assertTrue(bn.trackRunningStats());
    assertTrue(bn.isTraining());
    assertArrayEquals(new float[] {1, 1, 1, 1, 1}, bn.weight().value().toFloatArray());
    assertArrayEquals(new float[5], bn.bias().value().toFloatArray());
    assertArrayEquals(new float[5], bn.runningMean().toFloatArray());
    assertArrayEquals(new float[] {1, 1, 1, 1, 1}, bn.runningVar().toFloatArray());
    assertEquals(0, bn.numBatchesTracked().getLong());
    assertEquals(Shape.of(), bn.numBatchesTracked().shape());
    for (Tensor t : List.of(bn.runningMean(), bn.runningVar(), bn.weight().value())) {
      assertEquals(Shape.of(5), t.shape());
      assertEquals(DType.F32, t.dtype());
    }
  }

  @Test
  void withoutAffineAndTrackingThereIsNoState() {
    BatchNorm1d bn = BatchNorm1d.builder(5).affine(false).trackRunningStats(false).build();
    assertNull(bn.weight());
    assertNull(bn.bias());
    assertNull(bn.runningMean());
    assertNull(bn.runningVar());
    assertNull(bn.numBatchesTracked());
    assertEquals(Map.of(), bn.stateDict());
  }

  @Test
  void badOptionsAreRefused() {
    refused("numFeatures must be at least 1, but got 0", () -> new BatchNorm1d(0));
    refused("numFeatures must be at least 1, but got -3", () -> BatchNorm3d.builder(-3));
    refused("eps must be >= 0, but got -1.0E-5", () -> BatchNorm1d.builder(2).eps(-1e-5).build());
    refused("eps must be >= 0, but got NaN", () -> BatchNorm1d.builder(2).eps(Double.NaN).build());
    refused(
        "eps must be > 0 where no running statistics are tracked, but got 0.0",
        () -> BatchNorm1d.builder(2).trackRunningStats(false).eps(0).build());
    for (double bad : new double[] {Double.NaN, Double.POSITIVE_INFINITY}) {
      String message =
          "momentum must be finite, or null for the average of all batches, but got " + bad;
      refused(message, () -> BatchNorm1d.builder(2).momentum(bad));
      refused(message, () -> new BatchNorm1d(2).setMomentum(bad));
    }
    refused(
        "dtype must be F32 or F64 (BF16 and F16 input goes with F32 parameters), but got BF16",
        () -> BatchNorm1d.builder(2).dtype(DType.BF16));
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void printsAsInPyTorch() {
    assertEquals(
        "BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        new BatchNorm2d(64).toString());
    assertEquals(
        "BatchNorm1d(4, eps=0.5, momentum=None, affine=False, track_running_stats=False)",
        BatchNorm1d.builder(4)
            .eps(0.5)
            .momentum(null)
            .affine(false)
            .trackRunningStats(false)
            .build()
            .toString());
    Map<Double, String> python =
        Map.of(
            0.0, "0.0",
            1.0, "1.0",
            100.0, "100.0",
            0.001, "0.001",
            1e-4, "0.0001",
            1.5e-5, "1.5e-05",
            1e-12, "1e-12",
            1e16, "1e+16",
            1.25e300, "1.25e+300");
    python.forEach(
        (value, text) ->
            assertEquals(
                "BatchNorm3d(1, eps="
                    + text
                    + ", momentum=0.1, affine=True, track_running_stats=True)",
                BatchNorm3d.builder(1).eps(value).build().toString()));
    assertTrue(BatchNorm1d.builder(1).momentum(-1.2).build().toString().contains("momentum=-1.2,"));
    Locale before = Locale.getDefault();
    try {
      // Where the digits are others.
      Locale.setDefault(Locale.forLanguageTag("ar-EG"));
      assertTrue(new BatchNorm1d(1).toString().contains("eps=1e-05,"));
    } finally {
      Locale.setDefault(before);
    }
  }

  /** What the caller holds in arrays: the same bits, in any mix with memory outside the heap. */
  @Test
  void trainsOnArrays() {
    Tensor x = PyTorch.random(1, 4, 6, 3, 5);
    Tensor dy = PyTorch.random(2, 4, 6, 3, 5);
    for (Supplier<Module> norm :
        List.<Supplier<Module>>of(
            () -> new BatchNorm2d(6),
            () -> InstanceNorm2d.builder(6).affine(true).trackRunningStats(true).build(),
            () -> new GroupNorm(2, 6),
            () -> new LayerNorm(3, 5))) {
      List<float[]> expected = trained(norm, x, dy);
      assertBits(expected, trained(norm, onHeap(x), onHeap(dy)));
      assertBits(expected, trained(norm, onHeap(x), dy));
      assertBits(expected, trained(norm, x, onHeap(dy)));
    }
    try (BatchNorm2d bn = new BatchNorm2d(6)) {
      Tensor y = bn.forward(x, x, Activation.RELU);
      float[] expected = y.toFloatArray();
      Tensor out = Tensor.wrap(new float[expected.length], 4, 6, 3, 5);
      assertArrayEquals(expected, bn.forward(x, x, Activation.RELU, out).toFloatArray());
    }
  }

  private static Tensor onHeap(Tensor t) {
    return Tensor.wrap(t.toFloatArray(), t.shape().toArray());
  }

  /** Outputs, gradients and state after a step of training and one of evaluation. */
  private static List<float[]> trained(Supplier<Module> make, Tensor x, Tensor dy) {
    List<float[]> results = new ArrayList<>();
    try (Module module = make.get()) {
      for (boolean training : new boolean[] {true, false}) {
        module.train(training);
        results.add(module.forward(x).toFloatArray());
        results.add(module.backward(dy).toFloatArray());
        module.parameters().forEach(p -> results.add(p.grad().toFloatArray()));
      }
      module.namedBuffers().values().forEach(t -> results.add(t.to(DType.F32).toFloatArray()));
    }
    return results;
  }

  private static void assertBits(List<float[]> expected, List<float[]> actual) {
    assertEquals(expected.size(), actual.size());
    for (int i = 0; i < expected.size(); i++) {
      assertArrayEquals(expected.get(i), actual.get(i), "result " + i);
    }
  }

  // --------------------------------------------------------------------------------------- errors

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3})
  void rankIsCheckedInPyTorchsWords(int dims) {
    BatchNorm bn =
        switch (dims) {
          case 1 -> new BatchNorm1d(2);
          case 2 -> new BatchNorm2d(2);
          default -> new BatchNorm3d(2);
        };
    String expected = dims == 1 ? "2D or 3D" : dims + 2 + "D";
    for (int rank = 0; rank <= 6; rank++) {
      long[] shape = new long[rank];
      Arrays.fill(shape, 2);
      Tensor x = random(1, shape);
      if (rank == dims + 2 || dims == 1 && rank == 2) {
        bn.forward(x);
        assertEquals(Shape.of(shape), bn.eval().forward(x).shape());
        bn.train();
      } else {
        String message =
            "expected "
                + expected
                + " input (got "
                + rank
                + "D input): x has shape "
                + Shape.of(shape);
        refused(message, () -> bn.forward(x));
        refused(message, () -> bn.forward(x, x));
      }
    }
  }

  /** Everything that can be wrong with a forward, in a module that has been used before. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void aForwardThatThrowsHasChangedNothing(BatchNormBackend backend) {
    for (boolean training : new boolean[] {true, false}) {
      try (BatchNorm2d bn = new BatchNorm2d(3)) {
        bn.backend(backend);
        Tensor x = random(1, 2, 3, 4, 4);
        bn.forward(x);
        bn.backward(random(2, 2, 3, 4, 4));
        bn.train(training);
        Tensor y = bn.forward(x);
        double[] output = y.toDoubleArray();
        double[] dx = bn.backward(random(3, 2, 3, 4, 4)).toDoubleArray();
        Map<String, double[]> state = state(bn);
        Tensor closed = random(4, 9, 3, 9, 9);
        closed.close();

        // Larger than what was before, so that a new output would be needed.
        refused(
            "x has 32 channels, this BatchNorm2d was built for 3",
            () -> bn.forward(Tensor.zeros(9, 32, 9, 9)));
        refused(
            "x has 32 channels, this BatchNorm2d was built for 3",
            () -> bn.forward(Tensor.zeros(0, 32, 9, 9)));
        assertMessage(
            "mixed dtype (CPU): all inputs must share same datatype. ",
            () -> bn.forward(Tensor.zeros(DType.F64, 9, 3, 9, 9)));
        assertMessage(
            "\"batch_norm\" not implemented for 'Long'",
            () -> bn.forward(Tensor.zeros(DType.I64, 9, 3, 9, 9)));
        assertEquals(
            "x is closed; its memory has been given back",
            assertThrows(IllegalStateException.class, () -> bn.forward(closed)).getMessage());
        refused(
            "out has shape [2, 3, 4, 5], expected that of x, [2, 3, 4, 4]",
            () -> bn.forward(x, Tensor.zeros(2, 3, 4, 5)));
        refused(
            "residual has shape [9, 3, 9, 8], expected that of x, [9, 3, 9, 9]",
            () -> bn.forward(Tensor.zeros(9, 3, 9, 9), Tensor.zeros(9, 3, 9, 8), Activation.NONE));
        if (training) {
          refused(
              "Expected more than 1 value per channel when training, got input size torch.Size([1,"
                  + " 3, 1, 1])",
              () -> bn.forward(Tensor.zeros(1, 3, 1, 1)));
        } else {
          Tensor one = bn.forward(Tensor.zeros(1, 3, 1, 1), Tensor.zeros(1, 3, 1, 1));
          assertEquals(3, one.size());
        }
        refused(
            "dy has shape [9, 3, 9, 9], expected that of x, [2, 3, 4, 4]",
            () -> bn.backward(Tensor.zeros(9, 3, 9, 9)));
        refused(
            "dy is F64, expected the type of x, F32",
            () -> bn.backward(Tensor.zeros(DType.F64, 2, 3, 4, 4)));
        assertEquals(
            "dy is closed; its memory has been given back",
            assertThrows(
                    IllegalStateException.class,
                    () -> {
                      Tensor dy = Tensor.zeros(DType.F32, MemoryFormat.CHANNELS_LAST, x.shape());
                      dy.close();
                      bn.backward(dy);
                    })
                .getMessage());

        assertSameState(state, bn);
        assertArrayEquals(output, y.toDoubleArray());
        // Nor has the forward been forgotten that backward differentiates.
        assertArrayEquals(dx, bn.backward(random(3, 2, 3, 4, 4)).toDoubleArray());
      }
    }
  }

  private static void assertMessage(String start, Executable call) {
    String message = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertTrue(message.startsWith(start), message);
  }

  @Test
  void closedStateIsNamed() {
    Tensor x = random(1, 4, 2);
    BatchNorm1d bn = new BatchNorm1d(2);
    bn.forward(x);
    bn.runningVar().close();
    assertEquals(
        "running_var is closed; its memory has been given back",
        assertThrows(IllegalStateException.class, () -> bn.forward(x)).getMessage());
    assertEquals(1, bn.numBatchesTracked().getLong());

    for (boolean affine : new boolean[] {true, false}) {
      BatchNorm1d gone = BatchNorm1d.builder(2).affine(affine).trackRunningStats(affine).build();
      gone.forward(x);
      gone.close();
      gone.close();
      assertEquals(
          "this BatchNorm1d is closed",
          assertThrows(IllegalStateException.class, () -> gone.forward(x)).getMessage());
      assertThrows(IllegalStateException.class, () -> gone.backward(x));
    }
  }

  @Test
  void zeroEpsIsForEvaluation() {
    BatchNorm1d bn = BatchNorm1d.builder(2).eps(0).build();
    Tensor x = random(1, 4, 2);
    refused("batch_norm eps must be positive during training, but got 0.0", () -> bn.forward(x));
    assertEquals(0, bn.numBatchesTracked().getLong());
    // With mean 0 and variance 1 this is the identity, to the bit.
    assertArrayEquals(x.toFloatArray(), bn.eval().forward(x).toFloatArray());
  }

  // ------------------------------------------------------------------------------- decision table

  /** What a forward did to a module of one channel that saw (1, 3): mean 2, variances 1 and 2. */
  private record Seen(double y, double mean, double var, long batches) {}

  private static Seen step(BatchNorm1d bn) {
    Tensor x = Tensor.of(new double[] {1, 3}, 2, 1);
    double y = bn.forward(x).get(1, 0);
    if (bn.runningMean() == null) {
      return new Seen(y, Double.NaN, Double.NaN, -1);
    }
    return new Seen(
        y, bn.runningMean().get(0), bn.runningVar().get(0), bn.numBatchesTracked().getLong());
  }

  private static final double BY_BATCH = (3 - 2) / Math.sqrt(1 + 3);
  private static final double BY_RUNNING = (3 - 0) / Math.sqrt(1 + 3);

  private static BatchNorm1d.Builder<BatchNorm1d> oneChannel() {
    // With eps = 3 the two ways to normalize give 1/2 and 3/2.
    return BatchNorm1d.builder(1).eps(3).dtype(DType.F64);
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void decisionTable(BatchNormBackend backend) {
    // training, tracking, buffers: the batch's statistics, all buffers updated.
    BatchNorm1d tracking = oneChannel().build();
    tracking.backend(backend);
    assertEquals(new Seen(BY_BATCH, 0.1 * 2, 0.1 * 2 + 0.9, 1), step(tracking));

    // training, flag flipped off later: the batch's, none of the three buffers updated.
    BatchNorm1d frozen = oneChannel().build();
    frozen.backend(backend);
    frozen.setTrackRunningStats(false);
    assertEquals(new Seen(BY_BATCH, 0, 1, 0), step(frozen));

    // evaluation, flag flipped off: the running ones nevertheless.
    frozen.eval();
    assertEquals(new Seen(BY_RUNNING, 0, 1, 0), step(frozen));

    // evaluation, tracking: the running ones, nothing updated.
    BatchNorm1d evaluating = oneChannel().build();
    evaluating.backend(backend).eval();
    assertEquals(new Seen(BY_RUNNING, 0, 1, 0), step(evaluating));

    // flag on again: as if nothing had been.
    frozen.setTrackRunningStats(true);
    frozen.train();
    assertEquals(new Seen(BY_BATCH, 0.1 * 2, 0.1 * 2 + 0.9, 1), step(frozen));

    // no buffers: the batch's, in training and in evaluation, whatever the flag says later.
    BatchNorm1d stateless = oneChannel().trackRunningStats(false).build();
    stateless.backend(backend);
    for (boolean training : new boolean[] {true, false}) {
      for (boolean flag : new boolean[] {false, true}) {
        stateless.train(training);
        stateless.setTrackRunningStats(flag);
        assertEquals(new Seen(BY_BATCH, Double.NaN, Double.NaN, -1), step(stateless));
      }
    }
    // And then one value per channel is too few in evaluation as well.
    Tensor one = Tensor.of(new double[] {1}, 1, 1);
    refused(
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 1])",
        () -> stateless.forward(one));
    refused(
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 1])",
        () -> stateless.forward(one, Tensor.zerosLike(one)));
    assertEquals((1 - 0.2) / Math.sqrt(1.1 + 3), tracking.eval().forward(one).get(0, 0), 1e-15);
  }

  /** As in PyTorch: there is nothing whose type the input could miss. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void withoutParametersAndTrackingAnyTypeIsTaken(BatchNormBackend backend) {
    BatchNorm2d bn = BatchNorm2d.builder(3).affine(false).trackRunningStats(false).build();
    bn.backend(backend);
    for (DType dtype : new DType[] {DType.F64, DType.F32, DType.BF16, DType.F64}) {
      BatchNorm2d ofType =
          BatchNorm2d.builder(3)
              .affine(false)
              .trackRunningStats(false)
              .dtype(dtype.parameterType())
              .build();
      ofType.backend(backend);
      Tensor x = random(1, 2, 3, 4, 4).to(dtype);
      Tensor dy = random(2, 2, 3, 4, 4).to(dtype);
      for (BatchNorm2d module : List.of(bn, ofType)) {
        module.train(dtype != DType.F32);
      }
      assertArrayEquals(ofType.forward(x).toDoubleArray(), bn.forward(x).toDoubleArray());
      // Refused, and nothing is lost that the backward needs.
      DType other = dtype == DType.F64 ? DType.F32 : DType.F64;
      assertThrows(
          IllegalArgumentException.class, () -> bn.forward(Tensor.zeros(other, 1, 3, 1, 1)));
      assertArrayEquals(ofType.backward(dy).toDoubleArray(), bn.backward(dy).toDoubleArray());
      assertArrayEquals(
          ofType.forward(x).toDoubleArray(), bn.forward(x, Tensor.zerosLike(x)).toDoubleArray());
    }
  }

  /** The gradient's formula is that of the forward, whatever the mode is by then. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void backwardFollowsTheForwardsMode(BatchNormBackend backend) {
    Tensor x = random(DType.F64, MemoryFormat.CHANNELS_FIRST, 1, 4, 3);
    Tensor dy = Tensor.zerosLike(x).fill(1);
    BatchNorm1d bn = BatchNorm1d.builder(3).dtype(DType.F64).build();
    bn.backend(backend).train();
    bn.forward(x);
    bn.eval();
    // By the batch's statistics a constant dy has no effect; by constants it has.
    assertArrayEquals(new double[12], bn.backward(dy).toDoubleArray(), 1e-15);
    bn.forward(x);
    bn.train();
    double scale = 1 / Math.sqrt(bn.runningVar().get(0) + 1e-5);
    assertEquals(scale, bn.backward(dy).get(0, 0), 1e-15);
    BatchNorm1d stateless =
        BatchNorm1d.builder(3).trackRunningStats(false).dtype(DType.F64).build();
    stateless.backend(backend).eval();
    stateless.forward(x);
    assertArrayEquals(new double[12], stateless.backward(dy).toDoubleArray(), 1e-15);
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void nullMomentumAveragesAllBatches(BatchNormBackend backend) {
    BatchNorm1d bn = BatchNorm1d.builder(1).momentum(null).dtype(DType.F64).build();
    bn.backend(backend);
    Tensor first = Tensor.of(new double[] {1, 3}, 2, 1);
    Tensor second = Tensor.of(new double[] {10, 14, 12}, 3, 1);
    for (int round = 0; round < 2; round++) {
      bn.forward(first);
      assertEquals(2, bn.runningMean().get(0), 1e-15);
      assertEquals(2, bn.runningVar().get(0), 1e-15);
      bn.forward(second);
      // Of batches, not of values: their means 2 and 12, their unbiased variances 2 and 4.
      assertEquals(7, bn.runningMean().get(0), 1e-15);
      assertEquals(3, bn.runningVar().get(0), 1e-15);
      assertEquals(2, bn.numBatchesTracked().getLong());
      bn.resetRunningStats();
      assertEquals(0, bn.runningMean().get(0));
      assertEquals(1, bn.runningVar().get(0));
      assertEquals(0, bn.numBatchesTracked().getLong());
    }
    // Frozen, they stay: PyTorch's reset_running_stats asks track_running_stats.
    bn.forward(first);
    bn.setTrackRunningStats(false);
    bn.resetRunningStats();
    assertEquals(2, bn.runningMean().get(0), 1e-15);
    bn.setTrackRunningStats(true);
    bn.resetRunningStats();
    bn.setMomentum(1.0);
    bn.forward(first);
    assertEquals(1.0, bn.momentum());
    bn.forward(second);
    assertEquals(12, bn.runningMean().get(0), 1e-15);
  }

  @Test
  void resetsAreWhatTheySay() {
    BatchNorm1d bn = new BatchNorm1d(2);
    bn.weight().value().fill(3);
    bn.bias().value().fill(4);
    bn.forward(random(1, 4, 2));
    bn.resetParameters();
    assertSameState(state(new BatchNorm1d(2)), bn);
    BatchNorm1d stateless = BatchNorm1d.builder(2).affine(false).trackRunningStats(false).build();
    stateless.resetParameters();
    assertEquals(Map.of(), stateless.stateDict());
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void evaluationChangesNothingAndRepeatsExactly(BatchNormBackend backend) {
    BatchNorm3d bn = new BatchNorm3d(3);
    bn.backend(backend);
    Tensor x = random(1, 2, 3, 2, 3, 4);
    bn.forward(x);
    bn.eval();
    Map<String, double[]> buffers = new LinkedHashMap<>();
    bn.namedBuffers().forEach((name, t) -> buffers.put(name, t.toDoubleArray()));
    double[] y = bn.forward(x).toDoubleArray();
    double[] dx = bn.backward(random(2, 2, 3, 2, 3, 4)).toDoubleArray();
    assertArrayEquals(y, bn.forward(x).toDoubleArray());
    assertArrayEquals(dx, bn.backward(random(2, 2, 3, 2, 3, 4)).toDoubleArray());
    bn.namedBuffers().forEach((name, t) -> assertArrayEquals(buffers.get(name), t.toDoubleArray()));

    BatchNorm3d stateless = BatchNorm3d.builder(3).trackRunningStats(false).build();
    stateless.backend(backend);
    double[] trained = stateless.forward(x).toDoubleArray();
    assertArrayEquals(trained, stateless.eval().forward(x).toDoubleArray());
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void neutralAffineIsNoAffine(BatchNormBackend backend) {
    Tensor x = random(1, 6, 5, 7);
    Tensor dy = random(2, 6, 5, 7);
    BatchNorm1d with = new BatchNorm1d(5);
    BatchNorm1d without = BatchNorm1d.builder(5).affine(false).build();
    with.backend(backend);
    without.backend(backend);
    assertArrayEquals(with.forward(x).toFloatArray(), without.forward(x).toFloatArray());
    assertArrayEquals(with.backward(dy).toFloatArray(), without.backward(dy).toFloatArray());
    assertNotEquals(0, with.weight().grad().get(0));
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void emptyBatch(BatchNormBackend backend) {
    BatchNorm2d bn = new BatchNorm2d(3);
    bn.backend(backend);
    bn.forward(random(1, 2, 3, 2, 2));
    bn.backward(random(2, 2, 3, 2, 2));
    bn.resetParameters();
    Tensor y = bn.forward(Tensor.zeros(0, 3, 2, 2));
    assertEquals(Shape.of(0, 3, 2, 2), y.shape());
    assertArrayEquals(new float[3], bn.runningMean().toFloatArray());
    assertArrayEquals(new float[] {1, 1, 1}, bn.runningVar().toFloatArray());
    // It is a batch nevertheless.
    assertEquals(1, bn.numBatchesTracked().getLong());
    assertEquals(Shape.of(0, 3, 2, 2), bn.backward(Tensor.zeros(0, 3, 2, 2)).shape());
    assertArrayEquals(new float[3], bn.weight().grad().toFloatArray());
    assertArrayEquals(new float[3], bn.bias().grad().toFloatArray());
    assertEquals(0, bn.eval().forward(Tensor.zeros(0, 3, 2, 2)).size());
  }

  // --------------------------------------------------------------------------- outputs and memory

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void outputsAreTheModulesAndReused(BatchNormBackend backend) {
    BatchNorm1d bn = new BatchNorm1d(3);
    bn.backend(backend);
    Tensor y = bn.forward(random(1, 4, 3));
    Tensor dx = bn.backward(random(2, 4, 3));
    assertNotSame(y, dx);
    assertSame(y, bn.forward(random(3, 4, 3)));
    assertSame(dx, bn.backward(random(4, 4, 3)));
    Tensor smaller = bn.forward(random(5, 2, 3));
    assertTrue(smaller.overlaps(y), "a smaller output fits into the memory there is");
    Tensor larger = bn.forward(random(6, 40, 3));
    assertTrue(y.isClosed(), "and a larger one replaces it");
    assertFalse(larger.isClosed());
    for (MemoryFormat format : MemoryFormat.values()) {
      Tensor x = random(DType.F32, format, 7, 2, 3, 5);
      assertEquals(format, bn.forward(x).format());
      assertEquals(format, bn.backward(random(8, 2, 3, 5)).format());
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void outMayBeGiven(BatchNormBackend backend) {
    for (boolean training : new boolean[] {true, false}) {
      for (boolean track : new boolean[] {true, false}) {
        Tensor x = random(1, 4, 3, 5);
        BatchNorm1d one = BatchNorm1d.builder(3).trackRunningStats(track).build();
        BatchNorm1d other = BatchNorm1d.builder(3).trackRunningStats(track).build();
        one.backend(backend).train(training);
        other.backend(backend).train(training);
        Tensor out = Tensor.zerosLike(x);
        assertSame(out, one.forward(x, out));
        assertArrayEquals(other.forward(x).toFloatArray(), out.toFloatArray());
        assertSameState(state(other), one);
        Tensor copy = x.to(DType.F32);
        assertSame(copy, one.forward(copy, copy));
      }
    }
  }

  @Test
  void backwardSaysWhatItMisses() {
    BatchNorm1d bn = new BatchNorm1d(3);
    Tensor x = random(1, 4, 3);
    String none =
        "backward(dy) needs a forward before it: forward(x), or in training mode forward(x, out)";
    assertEquals(
        none, assertThrows(IllegalStateException.class, () -> bn.backward(x)).getMessage());
    bn.eval();
    bn.forward(x, Tensor.zerosLike(x));
    assertEquals(
        none, assertThrows(IllegalStateException.class, () -> bn.backward(x)).getMessage());
    bn.train();
    bn.forward(x, x);
    assertEquals(
        "the last forward wrote its output over its input x, which backward(dy) needs: give it"
            + " another out",
        assertThrows(IllegalStateException.class, () -> bn.backward(x)).getMessage());
    bn.forward(x);
    bn.backward(random(2, 4, 3));
    assertEquals(
        "there is no gradient of a residual: call forward with a residual, then backward(dy)",
        assertThrows(IllegalStateException.class, bn::residualGrad).getMessage());
    Tensor gone = random(3, 4, 3);
    bn.forward(gone);
    gone.close();
    assertEquals(
        "x is closed; its memory has been given back",
        assertThrows(IllegalStateException.class, () -> bn.backward(x)).getMessage());
  }

  /** The end of a residual block, out = relu(bn(x) + residual), against its parts. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void residualAndActivation(BatchNormBackend backend) {
    for (boolean training : new boolean[] {true, false}) {
      Tensor x = random(DType.F64, MemoryFormat.CHANNELS_LAST, 1, 4, 3, 2, 2);
      Tensor residual = random(DType.F64, MemoryFormat.CHANNELS_LAST, 2, 4, 3, 2, 2);
      residual.copyFrom(Arrays.stream(residual.toDoubleArray()).map(v -> v - 3).toArray());
      Tensor dy = random(DType.F64, MemoryFormat.CHANNELS_FIRST, 3, 4, 3, 2, 2);
      BatchNorm2d fused = BatchNorm2d.builder(3).dtype(DType.F64).build();
      BatchNorm2d plain = BatchNorm2d.builder(3).dtype(DType.F64).build();
      fused.backend(backend).train(training);
      plain.backend(backend).train(training);
      double[] y = fused.forward(x, residual, Activation.RELU).toDoubleArray();
      double[] expected = plain.forward(x).toDoubleArray();
      double[] r = residual.toDoubleArray();
      double[] masked = dy.toDoubleArray();
      int cut = 0;
      for (int i = 0; i < y.length; i++) {
        expected[i] = Math.max(0, expected[i] + r[i]);
        if (expected[i] == 0) {
          masked[i] = 0;
          cut++;
        }
      }
      assertTrue(cut > 5 && cut < 40, "the mask does something");
      assertArrayEquals(expected, y, 1e-14);
      Tensor out = Tensor.zerosLike(x);
      double[] again = fused.forward(x, residual, Activation.RELU, out).toDoubleArray();
      if (training) {
        assertArrayEquals(y, again);
      }
      double[] dx = fused.backward(dy).toDoubleArray();
      assertArrayEquals(masked, fused.residualGrad().toDoubleArray(), 1e-15);
      Tensor maskedDy = Tensor.zerosLike(x).copyFrom(masked);
      assertArrayEquals(plain.backward(maskedDy).toDoubleArray(), dx, 1e-14);
      double[] dweight = plain.weight().grad().toDoubleArray();
      assertArrayEquals(dweight, fused.weight().grad().toDoubleArray(), 1e-12);
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void manyThreadsMayEvaluate(BatchNormBackend backend) throws Exception {
    for (boolean track : new boolean[] {true, false}) {
      BatchNorm2d bn = BatchNorm2d.builder(8).trackRunningStats(track).build();
      bn.backend(backend);
      bn.forward(random(1, 4, 8, 5, 5));
      bn.eval();
      Map<String, double[]> state = state(bn);
      List<Tensor> inputs = new ArrayList<>();
      List<float[]> expected = new ArrayList<>();
      for (int i = 0; i < 8; i++) {
        inputs.add(random(10 + i, 1 + i, 8, 5, 5));
        expected.add(bn.forward(inputs.get(i)).toFloatArray());
      }
      ExecutorService pool = Executors.newFixedThreadPool(8);
      try {
        List<Future<?>> done = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
          int mine = i;
          done.add(
              pool.submit(
                  () -> {
                    Tensor out = Tensor.zerosLike(inputs.get(mine));
                    for (int round = 0; round < 200; round++) {
                      out.fill(0);
                      bn.forward(inputs.get(mine), out);
                      assertArrayEquals(expected.get(mine), out.toFloatArray());
                    }
                  }));
        }
        for (Future<?> f : done) {
          f.get();
        }
      } finally {
        pool.shutdownNow();
      }
      assertSameState(state, bn);
    }
  }

  /**
   * A record or two per call, and 4 KiB in which to turn a dy of another memory format; nothing
   * that grows with the tensors.
   */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void steadyStateAllocatesNothingBig(BatchNormBackend backend) {
    BatchNorm2d bn = new BatchNorm2d(16);
    bn.backend(backend);
    Tensor x = random(1, 4, 16, 8, 8);
    Tensor dy = random(DType.F32, MemoryFormat.CHANNELS_LAST, 2, 4, 16, 8, 8);
    Tensor out = Tensor.zerosLike(x);
    Runnable everything =
        () -> {
          bn.train();
          bn.forward(x);
          bn.backward(dy);
          bn.eval();
          bn.forward(x, out);
        };
    for (int i = 0; i < 200; i++) {
      everything.run();
    }
    var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < 100; i++) {
      everything.run();
    }
    long perRound = (threads.getCurrentThreadAllocatedBytes() - before) / 100;
    assertTrue(perRound < 5700, () -> perRound + " bytes per round");
  }

  // ---------------------------------------------------------------------------------------- values

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void constantChannelsGiveTheBias(BatchNormBackend backend) {
    for (float value : new float[] {0, 1, -0.1f, 1e10f, 1e-30f}) {
      BatchNorm1d bn = new BatchNorm1d(2);
      bn.backend(backend);
      bn.bias().value().set(3, 0);
      bn.bias().value().set(-4, 1);
      Tensor x = Tensor.zeros(7, 2, 3).fill(value);
      float[] y = bn.forward(x).toFloatArray();
      for (int i = 0; i < y.length; i++) {
        assertEquals(i / 3 % 2 == 0 ? 3 : -4, y[i]);
      }
      // dx = (dy - mean(dy)) * weight / sqrt(eps)
      Tensor dy = random(1, 7, 2, 3);
      double mean = 0;
      for (int n = 0; n < 7; n++) {
        for (int l = 0; l < 3; l++) {
          mean += dy.get(n, 0, l) / 21;
        }
      }
      double expected = (dy.get(3, 0, 1) - mean) / Math.sqrt(1e-5);
      assertEquals(expected, bn.backward(dy).get(3, 0, 1), 1e-3);
      assertEquals(0, bn.weight().grad().get(0));
    }
  }

  /** Sums far beyond the largest f16, 65504, forward and backward. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void largeHalvesDoNotOverflow(BatchNormBackend backend) {
    for (MemoryFormat format : MemoryFormat.values()) {
      Shape shape = Shape.of(4, 3, 50, 50);
      double[] values = new double[(int) shape.size()];
      for (int i = 0; i < values.length; i++) {
        values[i] = i % 2 == 0 ? 60000 : -20000;
      }
      Tensor x = Tensor.zeros(DType.F16, format, shape).copyFrom(values);
      BatchNorm2d bn = new BatchNorm2d(3);
      bn.backend(backend);
      double[] y = bn.forward(x).toDoubleArray();
      double[] dx = bn.backward(x).toDoubleArray();
      for (int i = 0; i < y.length; i++) {
        assertEquals(i % 2 == 0 ? 1 : -1, y[i], 1e-3);
        // dy is the input: all of it lies along 1 and x^, and nothing is left.
        assertEquals(0, dx[i], 1e-3);
      }
      assertEquals(0.1 * 20000, bn.runningMean().get(1), 0.01);
      assertEquals(0.1 * 40000 * 40000, bn.runningVar().get(1), 2e-3 * 40000 * 40000 / 10);
      assertEquals(10_000 * 20_000.0, bn.bias().grad().get(2), 100);
      assertEquals(10_000 * 40_000.0, bn.weight().grad().get(2), 100);
    }
  }

  /** Many samples of one value: one channel, one position. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void aLongColumn(BatchNormBackend backend) {
    int n = 880_801;
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = i % 5;
    }
    BatchNorm2d bn = BatchNorm2d.builder(1).momentum(1.0).build();
    bn.backend(backend);
    Tensor y = bn.forward(Tensor.of(values, n, 1, 1, 1));
    // 0, 1, 2, 3, 4 over and over, and one 0 more.
    assertEquals(2, bn.runningMean().get(0), 1e-5);
    assertEquals(2, bn.runningVar().get(0), 1e-5);
    assertEquals(2 / Math.sqrt(2), y.get(n - 2, 0, 0, 0), 1e-4);
    // Two values per channel are enough, wherever they lie; one is not.
    assertEquals(4, new BatchNorm1d(2).forward(random(1, 1, 2, 2)).size());
    for (long[] one : new long[][] {{1, 2}, {1, 2, 1}}) {
      refused(
          "Expected more than 1 value per channel when training, got input size torch.Size("
              + Shape.of(one)
              + ")",
          () -> new BatchNorm1d(2).forward(random(1, one)));
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void badValuesStayInTheirChannel(BatchNormBackend backend) {
    for (MemoryFormat format : MemoryFormat.values()) {
      for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
        Tensor x = random(DType.F32, format, 1, 3, 4, 5);
        Tensor dy = random(DType.F32, format, 2, 3, 4, 5);
        BatchNorm1d good = new BatchNorm1d(4);
        good.backend(backend);
        double[] y = good.forward(x).toDoubleArray();
        double[] dx = good.backward(dy).toDoubleArray();
        x.set(bad, 1, 2, 3);
        BatchNorm1d bn = new BatchNorm1d(4);
        bn.backend(backend);
        double[] spoiled = bn.forward(x).toDoubleArray();
        double[] spoiledDx = bn.backward(dy).toDoubleArray();
        for (int i = 0; i < y.length; i++) {
          boolean inside = i / 5 % 4 == 2;
          assertEquals(inside ? Double.NaN : y[i], spoiled[i]);
          assertEquals(inside ? Double.NaN : dx[i], spoiledDx[i]);
        }
        for (int c = 0; c < 4; c++) {
          boolean inside = c == 2;
          assertEquals(inside, !Double.isFinite(bn.runningMean().get(c)));
          assertEquals(inside, Double.isNaN(bn.runningVar().get(c)));
          assertEquals(inside, Double.isNaN(bn.weight().grad().get(c)));
        }
        // In evaluation a bad value spoils itself alone, once the statistics are good again.
        bn.resetRunningStats();
        double[] evaluated = bn.eval().forward(x).toDoubleArray();
        for (int i = 0; i < evaluated.length; i++) {
          assertEquals(i != (1 * 4 + 2) * 5 + 3, Double.isFinite(evaluated[i]));
        }
      }
    }
  }
}
