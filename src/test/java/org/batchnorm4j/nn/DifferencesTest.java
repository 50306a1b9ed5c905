package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;

/**
 * Differences from PyTorch that no other test is about, each with what PyTorch does, so that it is
 * noticed when that changes. docs/differences-from-pytorch.md lists all.
 */
class DifferencesTest {
  private static final MemoryFormat FIRST = MemoryFormat.CHANNELS_FIRST;

  /** What PyTorch's forward in training mode gives, without weight and bias. */
  private static double[] torch(Tensor x) {
    TorchBatchNorm bn = new TorchBatchNorm(1, x.shape().dim(1), 1e-5, 0.1, false, false, DType.F32);
    double[] values = x.toDoubleArray();
    return bn.step(true, DType.F32, x.shape().toArray(), values, FIRST, values, FIRST).y();
  }

  private static BatchNorm1d plain(long channels) {
    return BatchNorm1d.builder(channels).affine(false).trackRunningStats(false).build();
  }

  @Test
  void valuesWhoseSquaresOverflowAreNormalized() {
    Tensor x = Tensor.of(new float[] {1e30f, -1e30f, 1e30f, -1e30f}, 4, 1);
    assertArrayEquals(new float[] {1, -1, 1, -1}, plain(1).forward(x).toFloatArray());
    // Its variance is infinite.
    assertArrayEquals(new double[4], torch(x));
  }

  @Test
  void aMeanOfManyDeviationsCostsNothing() {
    float[] values = new float[512];
    double mean = 0;
    for (int i = 0; i < values.length; i++) {
      values[i] = 1e6f + (float) Math.sin(i);
      mean += values[i] / 512.0;
    }
    double var = 0;
    for (float v : values) {
      var += (v - mean) * (v - mean) / 512;
    }
    Tensor x = Tensor.of(values, 512, 1);
    double[] ours = plain(1).forward(x).toDoubleArray();
    double[] theirs = torch(x);
    double theirError = 0;
    for (int i = 0; i < values.length; i++) {
      double exact = (values[i] - mean) / Math.sqrt(var + 1e-5);
      assertEquals(exact, ours[i], 1e-6);
      theirError = Math.max(theirError, Math.abs(theirs[i] - exact));
    }
    assertTrue(theirError > 1e-3, "PyTorch's error is " + theirError);
  }

  @Test
  void channelsAreCheckedWithoutParametersToo() {
    Tensor x = PyTorch.random(1, 4, 5);
    assertEquals(
        "x has 5 channels, this BatchNorm1d was built for 3",
        assertThrows(IllegalArgumentException.class, () -> plain(3).forward(x)).getMessage());
    assertEquals(
        "x has 5 channels, this InstanceNorm1d was built for 3",
        assertThrows(
                IllegalArgumentException.class,
                () -> new InstanceNorm1d(3).forward(x.reshape(2, 5, 2)))
            .getMessage());
    TorchBatchNorm torch = new TorchBatchNorm(1, 3, 1e-5, 0.1, false, false, DType.F32);
    double[] values = x.toDoubleArray();
    assertEquals(
        20,
        torch.step(true, DType.F32, new long[] {4, 5}, values, FIRST, values, FIRST).y().length);
  }

  @Test
  void gradientsAreOverwritten() {
    Tensor x = PyTorch.random(1, 4, 3);
    Tensor dy = PyTorch.random(2, 4, 3);
    for (Module module :
        new Module[] {
          new BatchNorm1d(3), new GroupNorm(1, 3), new LayerNorm(3), new Linear(3, 3)
        }) {
      module.forward(x);
      module.backward(dy);
      float[] once = module.parameters().get(0).grad().toFloatArray();
      module.backward(dy);
      assertArrayEquals(once, module.parameters().get(0).grad().toFloatArray());
    }
  }
}
