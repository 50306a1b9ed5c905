package org.batchnorm4j.nn.functional;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.PyTorch;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What the modules do not reach: outputs in place, and every error of the arguments. */
class SampleNormFunctionsTest {
  private static final BatchNormBackend BACKEND = Backends.best();
  private static final Shape LAST = Shape.of(5);

  private final Tensor x = PyTorch.random(1, 3, 4, 5);
  private final Tensor dy = PyTorch.random(2, 3, 4, 5);
  private final Tensor out = Tensor.zerosLike(x);
  private final Tensor weight = PyTorch.random(3, 4);
  private final Tensor bias = PyTorch.random(4, 4);
  private final Tensor weights = PyTorch.random(5, 5);
  private final SavedStatistics saved = SavedStatistics.allocate(DType.F32, 12);
  private final SavedStatistics six = SavedStatistics.allocate(DType.F32, 6);

  @Test
  void inPlace() {
    SampleNormFunctions.instanceNorm(x, weight, bias, 1e-5, saved, out);
    Tensor copy = Tensor.zerosLike(x).copyFrom(x);
    assertSame(copy, SampleNormFunctions.instanceNorm(copy, weight, bias, 1e-5, saved, copy));
    assertArrayEquals(out.toFloatArray(), copy.toFloatArray());

    SampleNormFunctions.groupNorm(x, 2, weight, bias, 1e-5, six, out);
    copy.copyFrom(x);
    assertSame(copy, SampleNormFunctions.groupNorm(copy, 2, weight, bias, 1e-5, six, copy));
    assertArrayEquals(out.toFloatArray(), copy.toFloatArray());

    SampleNormFunctions.layerNorm(x, LAST, weights, null, 1e-5, saved, out);
    copy.copyFrom(x);
    assertSame(copy, SampleNormFunctions.layerNorm(copy, LAST, weights, null, 1e-5, saved, copy));
    assertArrayEquals(out.toFloatArray(), copy.toFloatArray());
    Tensor last = x.to(MemoryFormat.CHANNELS_LAST);
    SampleNormFunctions.layerNorm(last, LAST, weights, null, 1e-5, saved, last);
    assertArrayEquals(out.toFloatArray(), last.toFloatArray());

    // The backward of instance norm, over dy and over x.
    SampleNormFunctions.instanceNorm(x, weight, bias, 1e-5, saved, out);
    SampleNormFunctions.instanceNormBackward(dy, x, weight, saved, BACKEND, out, null, null);
    Tensor overDy = Tensor.zerosLike(dy).copyFrom(dy);
    SampleNormFunctions.instanceNormBackward(overDy, x, weight, saved, BACKEND, overDy, null, null);
    assertArrayEquals(out.toFloatArray(), overDy.toFloatArray());
    SampleNormFunctions.instanceNormBackward(dy, x, weight, saved, BACKEND, x, null, null);
    assertArrayEquals(out.toFloatArray(), x.toFloatArray());
  }

  @Test
  void gradientsOfParametersAlone() {
    SampleNormFunctions.instanceNorm(x, weight, bias, 1e-5, saved, out);
    Tensor both = Tensor.zeros(2, 4);
    Tensor dweight = both.narrow(0, 0, 1).reshape(4);
    Tensor dbias = both.narrow(0, 1, 1).reshape(4);
    SampleNormFunctions.instanceNormBackward(
        dy, x, weight, saved, BACKEND, Tensor.zerosLike(x), dweight, dbias);
    float[] expected = both.toFloatArray();
    both.fill(0);
    SampleNormFunctions.instanceNormBackward(dy, x, weight, saved, BACKEND, null, dweight, null);
    SampleNormFunctions.instanceNormBackward(dy, x, weight, saved, BACKEND, null, null, dbias);
    assertArrayEquals(expected, both.toFloatArray());
  }

  /** The bias alone shifts, the weight alone scales. */
  @Test
  void oneParameterWithoutTheOther() {
    Tensor zero = Tensor.zeros(4);
    Tensor one = Tensor.zeros(4).fill(1);
    SampleNormFunctions.groupNorm(x, 2, null, bias, 1e-5, six, out);
    float[] shifted = out.toFloatArray();
    SampleNormFunctions.groupNorm(x, 2, one, bias, 1e-5, six, out);
    assertArrayEquals(out.toFloatArray(), shifted);
    SampleNormFunctions.groupNorm(x, 2, weight, null, 1e-5, six, out);
    float[] scaled = out.toFloatArray();
    SampleNormFunctions.groupNorm(x, 2, weight, zero, 1e-5, six, out);
    assertArrayEquals(out.toFloatArray(), scaled);
  }

  // --------------------------------------------------------------------------------------- errors

  private void refused(String message, Executable call) {
    float[] before = out.toFloatArray();
    float[] statistics = saved.invStd().toFloatArray();
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
    assertArrayEquals(before, out.toFloatArray(), "out");
    assertArrayEquals(statistics, saved.invStd().toFloatArray(), "saved");
  }

  private Tensor instance(
      Tensor input,
      Tensor runningMean,
      Tensor runningVar,
      double momentum,
      double eps,
      SavedStatistics statistics,
      Tensor output) {
    return SampleNormFunctions.instanceNorm(
        input, runningMean, runningVar, weight, bias, momentum, eps, BACKEND, statistics, output);
  }

  @Test
  void errorsOfInstanceNorm() {
    Tensor mean = Tensor.zeros(4);
    Tensor var = Tensor.zeros(4).fill(1);
    refused(
        "Expected more than 1 spatial element when training, got input size torch.Size([3, 4])",
        () -> instance(Tensor.zeros(3, 4), null, null, 0, 1, saved, Tensor.zeros(3, 4)));
    refused(
        "instance_norm eps must be positive, but got 0.0",
        () -> instance(x, null, null, 0, 0, saved, out));
    refused(
        "momentum must be finite, but got Infinity",
        () -> instance(x, mean, var, Double.POSITIVE_INFINITY, 1, saved, out));
    refused(
        "running_var is null, but the other running statistic is not: give both, or none to track"
            + " nothing",
        () -> instance(x, mean, null, 0, 1, saved, out));
    refused(
        "running_mean should contain 4 elements not 5",
        () -> instance(x, Tensor.zeros(5), var, 0, 1, saved, out));
    refused(
        "running_var should contain 4 elements not 3",
        () -> instance(x, mean, Tensor.zeros(3), 0, 1, saved, out));
    refused(
        "saved.mean should contain 12 elements not 6",
        () -> instance(x, mean, var, 0, 1, six, out));
    refused(
        "out has shape [3, 4, 4], expected that of x, [3, 4, 5]",
        () -> instance(x, mean, var, 0, 1, saved, Tensor.zeros(3, 4, 4)));
    refused(
        "out is CHANNELS_LAST, but x is CHANNELS_FIRST: both must have one memory format; convert"
            + " one with to(MemoryFormat)",
        () -> instance(x, mean, var, 0, 1, saved, out.to(MemoryFormat.CHANNELS_LAST)));
    Tensor two = Tensor.zeros(4, 4, 5);
    refused(
        "out overlaps x in part; it must be exactly the same memory, or other memory",
        () -> instance(two.narrow(0, 0, 3), mean, var, 0, 1, saved, two.narrow(0, 1, 3)));
    refused(
        "running_var shares memory with running_mean; it must have memory of its own",
        () -> instance(x, mean, mean, 0, 1, saved, out));
    refused(
        "running_mean shares memory with x; it must have memory of its own",
        () -> instance(x, x.view(MemoryFormat.CHANNELS_FIRST, Shape.of(4)), var, 0, 1, saved, out));
    refused(
        "saved.invStd shares memory with saved.mean; it must have memory of its own",
        () ->
            instance(
                x,
                mean,
                var,
                0,
                1,
                new SavedStatistics(saved.mean(), saved.meanLow(), saved.mean()),
                out));
    refused(
        "out shares memory with weight; it must have memory of its own",
        () ->
            SampleNormFunctions.instanceNorm(
                x, out.view(MemoryFormat.CHANNELS_FIRST, Shape.of(4)), null, 1, saved, out));
    assertArrayEquals(new float[4], mean.toFloatArray());
    assertArrayEquals(new float[] {1, 1, 1, 1}, var.toFloatArray());
  }

  @Test
  void errorsOfGroupNorm() {
    refused(
        "Expected at least 2 dimensions for input tensor but received 1: x must be (N, C, ...),"
            + " but has shape [4]",
        () ->
            SampleNormFunctions.groupNorm(Tensor.zeros(4), 2, null, null, 1, six, Tensor.zeros(4)));
    for (int groups : new int[] {3, 0, -2, 8}) {
      refused(
          "Expected number of channels in input to be divisible by num_groups, but got input of"
              + " shape [3, 4, 5] and num_groups="
              + groups,
          () -> SampleNormFunctions.groupNorm(x, groups, null, null, 1, six, out));
    }
    refused(
        "group_norm eps must be positive, but got -1.0",
        () -> SampleNormFunctions.groupNorm(x, 2, null, null, -1, six, out));
    refused(
        "bias should contain 4 elements not 5",
        () -> SampleNormFunctions.groupNorm(x, 2, weight, weights, 1, six, out));
    refused(
        "saved.mean should contain 6 elements not 12",
        () -> SampleNormFunctions.groupNorm(x, 2, null, null, 1, saved, out));
    refused(
        "dx shares memory with dy; it must have memory of its own",
        () ->
            SampleNormFunctions.groupNormBackward(dy, x, 2, weight, six, BACKEND, dy, null, null));
    refused(
        "dx shares memory with x; it must have memory of its own",
        () -> SampleNormFunctions.groupNormBackward(dy, x, 2, weight, six, BACKEND, x, null, null));
    refused(
        "dweight should contain 4 elements not 5",
        () ->
            SampleNormFunctions.groupNormBackward(
                dy, x, 2, weight, six, BACKEND, out, weights, null));
    refused(
        "dweight shares memory with weight; it must have memory of its own",
        () ->
            SampleNormFunctions.groupNormBackward(
                dy, x, 2, weight, six, BACKEND, out, weight, null));
    refused(
        "dbias shares memory with dweight; it must have memory of its own",
        () ->
            SampleNormFunctions.groupNormBackward(dy, x, 2, weight, six, BACKEND, out, bias, bias));
  }

  @Test
  void errorsOfLayerNorm() {
    refused(
        "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
            + " element, but got normalized_shape = []",
        () -> SampleNormFunctions.layerNorm(x, Shape.of(), null, null, 1, saved, out));
    refused(
        "Given normalized_shape=[3, 5], expected input with shape [*, 3, 5], but got input of"
            + " size[3, 4, 5]",
        () -> SampleNormFunctions.layerNorm(x, Shape.of(3, 5), null, null, 1, saved, out));
    refused(
        "layer_norm eps must be positive, but got NaN",
        () -> SampleNormFunctions.layerNorm(x, LAST, null, null, Double.NaN, saved, out));
    refused(
        "weight should contain 5 elements not 4",
        () -> SampleNormFunctions.layerNorm(x, LAST, weight, null, 1, saved, out));
    refused(
        "saved.mean shares memory with x; it must have memory of its own",
        () ->
            SampleNormFunctions.layerNorm(
                x,
                LAST,
                null,
                null,
                1,
                new SavedStatistics(
                    x.view(MemoryFormat.CHANNELS_FIRST, Shape.of(12)),
                    saved.meanLow(),
                    saved.invStd()),
                out));
    refused(
        "dy has shape [5], expected that of x, [3, 4, 5]",
        () ->
            SampleNormFunctions.layerNormBackward(
                weights, x, LAST, weights, saved, BACKEND, out, null, null));
    Tensor closed = Tensor.zeros(3, 4, 5);
    closed.close();
    assertEquals(
        "out is closed; its memory has been given back",
        assertThrows(
                IllegalStateException.class,
                () -> SampleNormFunctions.layerNorm(x, LAST, null, null, 1, saved, closed))
            .getMessage());
  }
}
