package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.SplittableRandom;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MaxPoolTest {

  @ParameterizedTest
  @CsvSource({
    "1, 1, 0, 5",
    "2, 2, 0, 8",
    "2, 2, 0, 9", // the last column belongs to no window
    "3, 2, 1, 9",
    "3, 1, 1, 7",
    "2, 3, 1, 8", // gaps between windows
    "5, 2, 2, 6",
    "2, 2, 0, 200", // more than one piece
  })
  void equalsPyTorch(int kernel, int stride, int padding, int size) {
    long[] k = {kernel};
    long[] s = {stride};
    long[] p = {padding};
    long[] one = {1};
    try (MaxPool2d pool = new MaxPool2d(kernel, stride, padding);
        MaxPool1d line = new MaxPool1d(kernel, stride, padding)) {
      // Whole numbers, so that there are equal values.
      Tensor x = whole(PyTorch.random(1, 2, 3, size, size + 1));
      org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
      check(
          pool,
          x,
          tx,
          torch.max_pool2d(
              tx,
              new long[] {kernel, kernel},
              new long[] {stride, stride},
              new long[] {padding, padding},
              new long[] {1, 1},
              false));
      Tensor x1 = whole(PyTorch.random(2, 4, 2, size));
      org.bytedeco.pytorch.Tensor tx1 = PyTorch.leaf(x1);
      check(line, x1, tx1, torch.max_pool1d(tx1, k, s, p, one, false));
    }
  }

  private static void check(
      MaxPool pool, Tensor x, org.bytedeco.pytorch.Tensor tx, org.bytedeco.pytorch.Tensor ty) {
    Tensor y = pool.forward(x);
    PyTorch.assertClose(pool + " y", ty, y, 0);
    Tensor dy = PyTorch.random(3, y.shape().toArray());
    PyTorch.backward(ty, dy);
    PyTorch.assertClose(pool + " dx", PyTorch.grad(tx), pool.backward(dy), 1e-7);
  }

  private static Tensor whole(Tensor t) {
    double[] values = t.toDoubleArray();
    for (int i = 0; i < values.length; i++) {
      values[i] = Math.rint(2 * values[i]);
    }
    return t.copyFrom(values);
  }

  @Test
  void gradientsEqualDifferences() {
    // All values at least 0.1 apart, so that a step of 0.01 changes no winner.
    SplittableRandom random = new SplittableRandom(3);
    float[] values = new float[2 * 3 * 7 * 6];
    for (int i = 0; i < values.length; i++) {
      int j = random.nextInt(i + 1);
      values[i] = values[j];
      values[j] = 0.1f * i;
    }
    try (MaxPool2d pool = new MaxPool2d(3, 2, 1);
        MaxPool1d line = new MaxPool1d(3, 2, 1)) {
      GradientCheck.check(pool, Tensor.of(values, 2, 3, 7, 6), 0.01, 1e-3);
      GradientCheck.check(line, Tensor.of(values, 2, 3, 42), 0.01, 1e-3);
    }
  }

  @Test
  void nanWinsAndPaddingNever() {
    float nan = Float.NaN;
    float low = Float.NEGATIVE_INFINITY;
    try (MaxPool1d pool = new MaxPool1d(2, 2, 1)) {
      Tensor x = Tensor.of(new float[] {-3, nan, 5, nan, nan, low}, 1, 1, 6);
      assertArrayEquals(new float[] {-3, nan, nan, low}, pool.forward(x).toFloatArray());
      Tensor dy = Tensor.of(new float[] {1, 2, 3, 4}, 1, 1, 4);
      assertArrayEquals(new float[] {1, 2, 0, 0, 3, 4}, pool.backward(dy).toFloatArray());
    }
  }

  @Test
  void textIsPyTorchs() {
    assertEquals(
        "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)",
        new MaxPool2d(3, 2, 1).toString());
    assertEquals(
        "MaxPool1d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        new MaxPool1d(2).toString());
  }

  @Test
  void refusesWhatItCannotTake() {
    try (MaxPool2d pool = new MaxPool2d(3)) {
      assertMessage(
          "expected 4D input (got 2D input): x has shape [3, 8], MaxPool2d takes (N, C, H, W)",
          () -> pool.forward(Tensor.zeros(3, 8)));
      assertMessage(
          "x has size 2 in dimension 2 (shape [1, 1, 2, 3]), 2 with padding, but the kernel of"
              + " this MaxPool2d extends over 3",
          () -> pool.forward(Tensor.zeros(1, 1, 2, 3)));
    }
    assertMessage(
        "padding must be at most half of kernel, but got padding 2 and kernel 3",
        () -> new MaxPool1d(3, 1, 2));
    try (MaxPool1d pool = new MaxPool1d(2, 1, 1)) {
      pool.forward(PyTorch.random(1, 1, 1, 4));
      assertMessage(
          "x has no elements in dimension 2 (shape [1, 1, 0]): MaxPool1d has nothing to choose from",
          () -> pool.forward(Tensor.zeros(1, 1, 0)));
    }
    assertMessage("kernel must be at least 1, but got 0", () -> new MaxPool1d(0));
    assertMessage("stride must be at least 1, but got 0", () -> new MaxPool2d(2, 0));
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
