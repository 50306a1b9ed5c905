package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.SplittableRandom;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LinearTest {

  @ParameterizedTest
  @CsvSource({
    "1, 1, 1, true",
    "7, 5, 3, true",
    "64, 10, 50, false",
    "300, 128, 130, true", // pieces by rows
    "33, 500, 1000, true", // pieces by columns
    "0, 4, 3, true",
  })
  void equalsPyTorch(int rows, int in, int out, boolean bias) {
    try (Linear linear = new Linear(in, out, bias, new SplittableRandom(1))) {
      checkAgainstPyTorch(linear, PyTorch.random(2, rows, in));
    }
  }

  @Test
  void takesAnyRank() {
    try (Linear linear = new Linear(4, 6)) {
      checkAgainstPyTorch(linear, PyTorch.random(2, 4));
      checkAgainstPyTorch(linear, PyTorch.random(2, 3, 5, 4));
    }
  }

  private static void checkAgainstPyTorch(Linear linear, Tensor x) {
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor tw = PyTorch.leaf(linear.weight().value());
    Parameter bias = linear.bias();
    org.bytedeco.pytorch.Tensor ty;
    org.bytedeco.pytorch.Tensor tb = bias == null ? null : PyTorch.leaf(bias.value());
    ty = torch.linear(tx, tw, tb == null ? new TensorOptional() : new TensorOptional(tb));
    Tensor y = linear.forward(x);
    PyTorch.assertClose("y", ty, y, 1e-6);
    Tensor dy = PyTorch.random(3, y.shape().toArray());
    PyTorch.backward(ty, dy);
    PyTorch.assertClose("dx", PyTorch.grad(tx), linear.backward(dy), 1e-6);
    PyTorch.assertClose("dweight", PyTorch.grad(tw), linear.weight().grad(), 1e-6);
    if (bias != null && tb != null) {
      PyTorch.assertClose("dbias", PyTorch.grad(tb), bias.grad(), 1e-6);
    }
  }

  @Test
  void gradientsEqualDifferences() {
    try (Linear linear = new Linear(6, 5)) {
      GradientCheck.check(linear, PyTorch.random(5, 4, 6), 0.5, 1e-5);
    }
  }

  @Test
  void startsAsPyTorchDoes() {
    try (Linear linear = new Linear(400, 300, new SplittableRandom(8))) {
      double bound = 1 / Math.sqrt(400);
      for (Parameter p : linear.parameters()) {
        double largest = 0;
        double sum = 0;
        double squares = 0;
        for (double v : p.value().toDoubleArray()) {
          largest = Math.max(largest, Math.abs(v));
          sum += v;
          squares += v * v;
        }
        long n = p.value().size();
        assertTrue(largest <= bound && largest > 0.98 * bound, "largest " + largest);
        assertEquals(0, sum / n, 4 * bound / Math.sqrt(3 * n), "mean");
        assertEquals(bound * bound / 3, squares / n, bound * bound / Math.sqrt(n), "variance");
      }
    }
  }

  @Test
  void theSameSeedGivesTheSameWeights() {
    try (Linear a = new Linear(7, 5, new SplittableRandom(8));
        Linear b = new Linear(7, 5, new SplittableRandom(8));
        Linear c = new Linear(7, 5, new SplittableRandom(9));
        Linear d = new Linear(7, 5);
        Linear e = new Linear(7, 5)) {
      assertArrayEquals(values(a), values(b));
      assertArrayEquals(values(d), values(e));
      assertTrue(values(a)[0] != values(c)[0] && values(a)[0] != values(d)[0]);
    }
  }

  private static float[] values(Linear linear) {
    return linear.weight().value().toFloatArray();
  }

  @Test
  void stateHasPyTorchsNames() {
    try (Linear linear = new Linear(2, 3);
        Linear noBias = new Linear(2, 3, false, new SplittableRandom(1))) {
      assertEquals(List.of("weight", "bias"), List.copyOf(linear.stateDict().keySet()));
      assertEquals(List.of("weight"), List.copyOf(noBias.stateDict().keySet()));
      assertEquals(Shape.of(3, 2), linear.weight().value().shape());
      assertNull(noBias.bias());
      assertEquals("Linear(in_features=2, out_features=3, bias=True)", linear.toString());
      assertEquals("Linear(in_features=2, out_features=3, bias=False)", noBias.toString());
    }
  }

  @Test
  void refusesWhatItCannotTake() {
    try (Linear linear = new Linear(3, 2)) {
      assertMessage(
          "x has 4 features in its last dimension (shape [5, 4]), but this Linear was built for 3",
          () -> linear.forward(Tensor.zeros(5, 4)));
      assertMessage(
          "x is F64, but Linear computes in F32; call to(DType.F32) first",
          () -> linear.forward(Tensor.zeros(DType.F64, 5, 3)));
      assertMessage(
          "x is channels last, but Linear needs contiguous channels-first data;"
              + " call to(MemoryFormat.CHANNELS_FIRST) first",
          () ->
              linear.forward(
                  Tensor.zeros(DType.F32, MemoryFormat.CHANNELS_LAST, Shape.of(2, 4, 3))));
      assertMessage(
          "x is channels first with gaps, but Linear needs contiguous channels-first data;"
              + " call to(MemoryFormat.CHANNELS_FIRST) first",
          () -> linear.forward(Tensor.zeros(2, 6).narrow(1, 0, 3)));
      assertMessage("inFeatures must be at least 1, but got 0", () -> new Linear(0, 2));
      assertMessage("outFeatures must be at least 1, but got -1", () -> new Linear(2, -1));
    }
  }

  @Test
  void takesSamplesByChannelsInEitherFormat() {
    try (Linear linear = new Linear(3, 2)) {
      Tensor x = PyTorch.random(1, 4, 3);
      float[] expected = linear.forward(x).toFloatArray();
      assertArrayEquals(expected, linear.forward(x.to(MemoryFormat.CHANNELS_LAST)).toFloatArray());
    }
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
