package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicReference;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LossTest {

  @ParameterizedTest
  @CsvSource({"1, 1", "3, 5", "64, 100"})
  void mseEqualsPyTorch(int rows, int columns) {
    Tensor x = PyTorch.random(1, rows, columns);
    Tensor target = PyTorch.random(2, rows, columns);
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor loss = torch.mse_loss(tx, PyTorch.leaf(target).detach());
    loss.backward();
    try (MSELoss mse = new MSELoss()) {
      assertEquals(loss.item_double(), mse.forward(x, target), 1e-14 * loss.item_double());
      PyTorch.assertClose("dx", PyTorch.grad(tx), mse.backward(), 1e-7);
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 2, 1", "64, 10, 1", "33, 100, 30"})
  void crossEntropyEqualsPyTorch(int rows, int classes, double spread) {
    SplittableRandom random = new SplittableRandom(3);
    Tensor x = PyTorch.random(1, rows, classes);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < classes; j++) {
        x.set(x.get(i, j) * spread, i, j);
      }
    }
    int[] targets = random.ints(rows, 0, classes).toArray();
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor tt = torch.tensor(widened(targets));
    org.bytedeco.pytorch.Tensor loss = torch.cross_entropy_loss(tx, tt);
    loss.backward();
    try (CrossEntropyLoss entropy = new CrossEntropyLoss()) {
      assertEquals(loss.item_double(), entropy.forward(x, targets), 1e-13 * loss.item_double());
      PyTorch.assertClose("dx", PyTorch.grad(tx), entropy.backward(), 1e-7);
    }
  }

  private static long[] widened(int[] targets) {
    long[] wide = new long[targets.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = targets[i];
    }
    return wide;
  }

  @Test
  void gradientsEqualDifferences() {
    float h = 0.01f;
    Tensor x = PyTorch.random(1, 3, 4);
    Tensor target = PyTorch.random(2, 3, 4);
    int[] classes = {0, 3, 1};
    try (MSELoss mse = new MSELoss();
        CrossEntropyLoss entropy = new CrossEntropyLoss()) {
      for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 4; j++) {
          double value = x.get(i, j);
          x.set(value + h, i, j);
          double squares = mse.forward(x, target);
          double entropies = entropy.forward(x, classes);
          x.set(value - h, i, j);
          squares -= mse.forward(x, target);
          entropies -= entropy.forward(x, classes);
          x.set(value, i, j);
          mse.forward(x, target);
          entropy.forward(x, classes);
          assertEquals(squares / (2 * h), mse.backward().get(i, j), 1e-5);
          assertEquals(entropies / (2 * h), entropy.backward().get(i, j), 1e-5);
        }
      }
    }
  }

  @Test
  void crossEntropyDoesNotOverflow() {
    try (CrossEntropyLoss entropy = new CrossEntropyLoss()) {
      Tensor x = Tensor.of(new float[] {3e38f, -3e38f, 1e5f, 0}, 2, 2);
      assertEquals(0, entropy.forward(x, new int[] {0, 0}), 0);
      assertEquals(5e4, entropy.forward(x, new int[] {0, 1}), 0);
      assertEquals(0.5, entropy.backward().get(1, 0), 0);
      assertEquals(-0.5, entropy.backward().get(1, 1), 0);
    }
  }

  @Test
  void mseTakesEitherFormatButNotBoth() {
    Tensor a = PyTorch.random(1, 2, 3, 4, 5);
    Tensor b = PyTorch.random(2, 2, 3, 4, 5);
    Tensor lastA = a.to(MemoryFormat.CHANNELS_LAST);
    try (MSELoss mse = new MSELoss()) {
      double expected = mse.forward(a, b);
      assertEquals(expected, mse.forward(lastA, b.to(MemoryFormat.CHANNELS_LAST)), 1e-12);
      assertTrue(
          assertThrows(IllegalArgumentException.class, () -> mse.forward(lastA, b))
              .getMessage()
              .startsWith("prediction and target must be contiguous and have the same memory"));
    }
  }

  @Test
  void refuseWhatTheyCannotTake() {
    Tensor x = Tensor.zeros(2, 3);
    try (MSELoss mse = new MSELoss();
        CrossEntropyLoss entropy = new CrossEntropyLoss()) {
      assertEquals(
          "MSELoss.backward needs a forward: call forward first",
          assertThrows(IllegalStateException.class, mse::backward).getMessage());
      assertEquals(
          "CrossEntropyLoss.backward needs a forward: call forward first",
          assertThrows(IllegalStateException.class, entropy::backward).getMessage());
      assertMessage(
          "prediction has shape [2, 3], but target has [3, 2]",
          () -> mse.forward(x, Tensor.zeros(3, 2)));
      assertMessage(
          "target is F64, but MSELoss computes in F32; call to(DType.F32) first",
          () -> mse.forward(x, Tensor.zeros(DType.F64, 2, 3)));
      assertMessage(
          "prediction is empty: there is nothing to take a mean of",
          () -> mse.forward(Tensor.zeros(0, 3), Tensor.zeros(0, 3)));
      assertMessage(
          "prediction must have shape (N, classes), but got [2, 3, 1]",
          () -> entropy.forward(Tensor.zeros(2, 3, 1), new int[2]));
      assertMessage(
          "got 3 targets for 2 samples (prediction has shape [2, 3])",
          () -> entropy.forward(x, new int[3]));
      assertMessage(
          "targets[1] must be a class from 0 to 2, but got 3",
          () -> entropy.forward(x, new int[] {0, 3}));
      assertMessage(
          "prediction is empty: there is nothing to take a mean of",
          () -> entropy.forward(Tensor.zeros(0, 3), new int[0]));
      mse.forward(x, x);
      assertThrows(IllegalArgumentException.class, () -> mse.forward(mse.backward(), x));
    }
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  /** Closed by another thread in the midst of a forward: it ends, or the gradient is closed. */
  @Test
  void closedDuringAForward() throws InterruptedException {
    Tensor p = Tensor.zeros(1 << 10, 1 << 10);
    int[] targets = new int[1 << 10];
    for (int i = 0; i < 20; i++) {
      MSELoss mse = new MSELoss();
      CrossEntropyLoss entropy = new CrossEntropyLoss();
      AtomicReference<Throwable> thrown = new AtomicReference<>();
      Thread other =
          new Thread(
              () -> {
                mse.forward(p, p);
                entropy.forward(p, targets);
              });
      other.setUncaughtExceptionHandler((thread, failure) -> thrown.set(failure));
      other.start();
      Thread.sleep(i / 2);
      mse.close();
      entropy.close();
      other.join();
      Throwable failure = thrown.get();
      if (failure != null) {
        assertEquals(IllegalStateException.class, failure.getClass());
        assertTrue(failure.getMessage().endsWith(" is closed"), failure.getMessage());
      }
    }
    assertEquals(0, p.get(0, 0));
  }
}
