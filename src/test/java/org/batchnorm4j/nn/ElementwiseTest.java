package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ElementwiseTest {
  private static final float NAN = Float.NaN;
  private static final float INF = Float.POSITIVE_INFINITY;

  /** Within a chunk of 2048, exactly one, one more, and more than one piece of 32768. */
  static Stream<long[]> shapes() {
    return Stream.of(
        new long[] {},
        new long[] {3, 5},
        new long[] {2, 4, 256},
        new long[] {2049},
        new long[] {0, 3},
        new long[] {9, 4, 33, 31});
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void equalPyTorch(long[] shape) {
    Tensor x = PyTorch.random(1, shape);
    Tensor dy = PyTorch.random(2, shape);
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor ty = torch.relu(tx);
    PyTorch.backward(ty, dy);
    try (ReLU relu = new ReLU()) {
      PyTorch.assertClose("ReLU y", ty, relu.forward(x), 0);
      PyTorch.assertClose("ReLU dx", PyTorch.grad(tx), relu.backward(dy), 0);
    }
    tx = PyTorch.leaf(x);
    ty = torch.leaky_relu(tx, new Scalar(0.2));
    PyTorch.backward(ty, dy);
    try (LeakyReLU relu = new LeakyReLU(0.2)) {
      PyTorch.assertClose("LeakyReLU y", ty, relu.forward(x), 1e-7);
      PyTorch.assertClose("LeakyReLU dx", PyTorch.grad(tx), relu.backward(dy), 1e-7);
    }
  }

  @Test
  void specialValuesAreThoseOfPyTorch() {
    Tensor x = Tensor.of(new float[] {NAN, INF, -INF, 0f, -0f, Float.MIN_VALUE}, 6);
    Tensor dy = Tensor.of(new float[] {1, 2, 3, 4, 5, 6}, 6);
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor ty = torch.relu(tx);
    PyTorch.backward(ty, dy);
    try (ReLU relu = new ReLU()) {
      assertArrayEquals(PyTorch.values(ty), relu.forward(x).toDoubleArray());
      assertArrayEquals(PyTorch.values(PyTorch.grad(tx)), relu.backward(dy).toDoubleArray());
    }
    tx = PyTorch.leaf(x);
    ty = torch.leaky_relu(tx, new Scalar(0.5));
    PyTorch.backward(ty, dy);
    try (LeakyReLU relu = new LeakyReLU(0.5)) {
      assertArrayEquals(PyTorch.values(ty), relu.forward(x).toDoubleArray());
      assertArrayEquals(PyTorch.values(PyTorch.grad(tx)), relu.backward(dy).toDoubleArray());
    }
  }

  @Test
  void gradientsEqualDifferences() {
    float[] values = PyTorch.random(3, 60).toFloatArray();
    for (int i = 0; i < values.length; i++) {
      // Away from the kink.
      values[i] += Math.signum(values[i]) * 0.1f;
    }
    Tensor x = Tensor.of(values, 3, 4, 5);
    GradientCheck.check(new ReLU(), x, 0.05, 1e-5);
    GradientCheck.check(new LeakyReLU(0.3), x, 0.05, 1e-5);
    GradientCheck.check(new LeakyReLU(-0.3), x, 0.05, 1e-5);
  }

  @Test
  void keepTheMemoryFormat() {
    Tensor first = PyTorch.random(1, 2, 3, 4, 5);
    Tensor last = first.to(MemoryFormat.CHANNELS_LAST);
    Tensor dy = PyTorch.random(2, 2, 3, 4, 5);
    try (ReLU a = new ReLU();
        ReLU b = new ReLU()) {
      Tensor y = b.forward(last);
      assertEquals(MemoryFormat.CHANNELS_LAST, y.format());
      assertArrayEquals(a.forward(first).toFloatArray(), y.toFloatArray());
      assertEquals(
          "dy is channels first, but the output of this ReLU is channels last;"
              + " call to(MemoryFormat.CHANNELS_LAST) first",
          assertThrows(IllegalArgumentException.class, () -> b.backward(dy)).getMessage());
      Tensor dx = b.backward(dy.to(MemoryFormat.CHANNELS_LAST));
      assertEquals(MemoryFormat.CHANNELS_LAST, dx.format());
      assertArrayEquals(a.backward(dy).toFloatArray(), dx.toFloatArray());
    }
  }

  @Test
  void dropoutKeepsTheExpectedShare() {
    int size = 200_000;
    try (Dropout dropout = new Dropout(0.3, 5)) {
      Tensor x = Tensor.zeros(size).fill(2);
      float[] y = dropout.forward(x).toFloatArray();
      float kept = (float) (2 / 0.7);
      int dropped = 0;
      int pairs = 0;
      for (int i = 0; i < size; i++) {
        assertTrue(y[i] == 0 || y[i] == kept, "y[" + i + "] = " + y[i]);
        dropped += y[i] == 0 ? 1 : 0;
        pairs += i > 0 && y[i] == 0 && y[i - 1] == 0 ? 1 : 0;
      }
      // Five standard deviations; neighbours are independent.
      assertEquals(0.3, (double) dropped / size, 5 * Math.sqrt(0.21 / size));
      assertEquals(0.09, (double) pairs / size, 5 * Math.sqrt(0.2 / size));
    }
  }

  @Test
  void dropoutsGradientHasTheMaskOfItsForward() {
    try (Dropout dropout = new Dropout(0.5, 5)) {
      Tensor ones = Tensor.zeros(7, 6000).fill(1);
      float[] first = dropout.forward(ones).toFloatArray();
      assertArrayEquals(first, dropout.backward(ones).toFloatArray());
      float[] second = dropout.forward(ones).toFloatArray();
      assertTrue(!Arrays.equals(first, second), "each forward draws anew");
      assertArrayEquals(second, dropout.backward(ones).toFloatArray());
    }
  }

  @Test
  void dropoutIsAFunctionOfItsSeed() {
    Tensor x = PyTorch.random(1, 1000);
    assertArrayEquals(drop(new Dropout(0.5, 5), x), drop(new Dropout(0.5, 5), x));
    assertArrayEquals(drop(new Dropout(), x), drop(new Dropout(0.5), x));
    float[] other = drop(new Dropout(0.5, new SplittableRandom(1)), x);
    assertTrue(!Arrays.equals(drop(new Dropout(0.5, 5), x), other));
  }

  private static float[] drop(Dropout dropout, Tensor x) {
    try (dropout) {
      return dropout.forward(x).toFloatArray();
    }
  }

  @Test
  void dropoutDoesNothingInEvaluation() {
    try (Dropout dropout = new Dropout(0.5);
        Dropout undisturbed = new Dropout(0.5)) {
      Tensor x = PyTorch.random(1, 4, 5);
      dropout.eval();
      assertSame(x, dropout.forward(x));
      Tensor dy = PyTorch.random(2, 4, 5);
      assertSame(dy, dropout.backward(dy));
      // Evaluation draws no random numbers.
      dropout.train();
      assertArrayEquals(undisturbed.forward(x).toFloatArray(), dropout.forward(x).toFloatArray());
    }
  }

  @Test
  void dropoutTakesAllOrNothing() {
    Tensor x = PyTorch.random(1, 4, 5);
    assertArrayEquals(x.toFloatArray(), drop(new Dropout(0), x));
    for (float y : drop(new Dropout(1), x)) {
      assertEquals(0, y, 0);
    }
  }

  @Test
  void textsArePyTorchs() {
    assertEquals("ReLU()", new ReLU().toString());
    assertEquals("LeakyReLU(negative_slope=0.01)", new LeakyReLU().toString());
    assertEquals("Dropout(p=0.25, inplace=False)", new Dropout(0.25).toString());
  }

  @Test
  void refuseWhatTheyCannotTake() {
    assertMessage("p must be between 0 and 1, but got 1.5", () -> new Dropout(1.5));
    assertMessage("p must be between 0 and 1, but got NaN", () -> new Dropout(Double.NaN));
    assertMessage("negativeSlope must be finite, but got NaN", () -> new LeakyReLU(Double.NaN));
    assertMessage(
        "x is not contiguous, but ReLU needs contiguous data; copy it with to(x.format()) first",
        () -> new ReLU().forward(Tensor.zeros(2, 6).narrow(1, 0, 3)));
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
