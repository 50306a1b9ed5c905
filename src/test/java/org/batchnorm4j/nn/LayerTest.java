package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What holds for every layer. */
class LayerTest {

  /** All but Flatten large enough to be worth several threads. */
  static Stream<Arguments> layers() {
    return Stream.of(
        layer("Linear", () -> new Linear(120, 130), 600, 120),
        layer("Conv1d", () -> new Conv1d(8, 12, kernel(3).padding(1)), 9, 8, 1000),
        layer("Conv2d", () -> new Conv2d(8, 8, kernel(3).groups(2)), 9, 8, 20, 30),
        layer("MaxPool1d", () -> new MaxPool1d(2), 40, 30, 80),
        layer("MaxPool2d", () -> new MaxPool2d(3, 2, 1), 9, 8, 40, 50),
        layer("ReLU", ReLU::new, 5, 20, 30, 31),
        layer("LeakyReLU", LeakyReLU::new, 5, 20, 30, 31),
        layer("Dropout", Dropout::new, 5, 20, 30, 31),
        layer("Flatten", Flatten::new, 5, 20, 3));
  }

  private static Arguments layer(String name, Supplier<Module> make, long... shape) {
    return Arguments.of(name, make, shape);
  }

  /** Prints a number for the results of each layer. */
  public static final class Results {
    private Results() {}

    public static void main(String[] args) {
      layers().forEach(layer -> System.out.println(hash(layer.get())));
    }

    private static String hash(Object... layer) {
      Supplier<?> make = (Supplier<?>) layer[1];
      try (Module module = (Module) make.get()) {
        Tensor y = module.forward(PyTorch.random(1, (long[]) layer[2]));
        int hash = Arrays.hashCode(y.toFloatArray());
        Tensor dx = module.backward(PyTorch.random(2, y.shape().toArray()));
        hash = 31 * hash + Arrays.hashCode(dx.toFloatArray());
        for (Parameter p : module.parameters()) {
          hash = 31 * hash + Arrays.hashCode(p.grad().toFloatArray());
        }
        return layer[0] + " " + hash;
      }
    }
  }

  /** Each number in a JVM of its own, since the limit is read once. */
  @Test
  void resultsDoNotDependOnTheNumberOfThreads() throws Exception {
    List<String> expected = results(1);
    assertEquals(layers().count(), expected.size(), expected::toString);
    for (int threads : new int[] {2, 5}) {
      assertEquals(expected, results(threads), threads + " threads");
    }
  }

  private static List<String> results(int threads) throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.batchnorm4j.threads=" + threads,
                "-cp",
                System.getProperty("java.class.path"),
                Results.class.getName())
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output.lines().toList();
  }

  /** Layers keep memory of a larger call: nothing of it may be left in a smaller one. */
  @ParameterizedTest(name = "{0}")
  @MethodSource("layers")
  void anotherBatchSizeGivesTheSameAsAFreshLayer(String name, Supplier<Module> make, long[] shape) {
    long[] smaller = shape.clone();
    smaller[0] = 3;
    try (Module used = make.get();
        Module fresh = make.get()) {
      if (name.equals("Dropout")) {
        // It draws anew each time.
        used.eval();
        fresh.eval();
      }
      Tensor y = used.forward(PyTorch.random(1, shape));
      used.backward(PyTorch.random(2, y.shape().toArray()));
      Tensor x = PyTorch.random(3, smaller);
      y = used.forward(x);
      Tensor dy = PyTorch.random(4, y.shape().toArray());
      assertArrayEquals(fresh.forward(x).toFloatArray(), y.toFloatArray());
      assertArrayEquals(fresh.backward(dy).toFloatArray(), used.backward(dy).toFloatArray());
      Map<String, Parameter> expected = fresh.namedParameters();
      used.namedParameters()
          .forEach(
              (key, p) ->
                  assertArrayEquals(
                      expected.get(key).grad().toFloatArray(), p.grad().toFloatArray(), key));
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("layers")
  void backwardNeedsAForward(String name, Supplier<Module> make, long[] shape) {
    try (Module module = make.get()) {
      IllegalStateException e =
          assertThrows(
              IllegalStateException.class, () -> module.backward(PyTorch.random(1, shape)));
      assertEquals(true, e.getMessage().startsWith(name + ".backward needs"), e.getMessage());
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("layers")
  void aCallThatThrowsChangesNothing(String name, Supplier<Module> make, long[] shape) {
    try (Module module = make.get()) {
      Tensor y = module.forward(PyTorch.random(1, shape));
      Tensor dy = PyTorch.random(2, y.shape().toArray());
      float[] output = y.toFloatArray();
      float[] gradient = module.backward(dy).toFloatArray();
      Tensor closed = PyTorch.random(1, shape);
      closed.close();
      assertEquals(
          "x is closed",
          assertThrows(IllegalStateException.class, () -> module.forward(closed)).getMessage());
      assertThrows(
          IllegalArgumentException.class, () -> module.forward(Tensor.zeros(DType.F64, shape)));
      assertThrows(
          IllegalArgumentException.class, () -> module.forward(Tensor.zeros(2, 6).narrow(1, 0, 3)));
      long[] wrong = y.shape().toArray();
      wrong[0]++;
      assertEquals(
          "dy has shape "
              + Tensor.zeros(wrong).shape()
              + ", but the output of this "
              + name
              + " has "
              + y.shape(),
          assertThrows(IllegalArgumentException.class, () -> module.backward(Tensor.zeros(wrong)))
              .getMessage());
      assertArrayEquals(output, y.toFloatArray());
      assertArrayEquals(gradient, module.backward(dy).toFloatArray());
    }
  }

  @Test
  void refusesItsOwnOutputAsInput() {
    try (Linear linear = new Linear(3, 3)) {
      Tensor x = PyTorch.random(1, 2, 3);
      Tensor y = linear.forward(x);
      assertEquals(
          "x is this Linear's own output or gradient, which the call would overwrite; copy it first",
          assertThrows(IllegalArgumentException.class, () -> linear.forward(y)).getMessage());
      Tensor dx = linear.backward(PyTorch.random(2, 2, 3));
      assertThrows(IllegalArgumentException.class, () -> linear.backward(dx));
    }
  }

  @Test
  void backwardNeedsItsInputOpen() {
    try (ReLU relu = new ReLU()) {
      Tensor x = PyTorch.random(1, 2, 3);
      relu.forward(x);
      x.close();
      assertEquals(
          "the input of the last forward is closed, but ReLU.backward needs it",
          assertThrows(IllegalStateException.class, () -> relu.backward(PyTorch.random(1, 2, 3)))
              .getMessage());
    }
  }

  @Test
  void aClosedLayerSaysSo() {
    Linear linear = new Linear(3, 3);
    linear.forward(PyTorch.random(1, 2, 3));
    linear.close();
    linear.close();
    assertEquals(
        "this Linear is closed",
        assertThrows(IllegalStateException.class, () -> linear.forward(PyTorch.random(1, 2, 3)))
            .getMessage());
    Linear unclear = new Linear(3, 3);
    unclear.weight().value().close();
    assertThrows(IllegalStateException.class, () -> unclear.forward(PyTorch.random(1, 2, 3)));
  }

  @Test
  void outputsAreReused() {
    try (ReLU relu = new ReLU()) {
      Tensor y = relu.forward(PyTorch.random(1, 2, 3));
      assertSame(y, relu.forward(PyTorch.random(2, 2, 3)));
    }
  }

  /** What the caller holds stays open when the next forward throws. */
  @Test
  void aForwardThatThrowsLeavesTheLastOutput() {
    try (Linear linear = new Linear(1, 4096)) {
      Tensor y = linear.forward(PyTorch.random(1, 2, 1));
      float[] before = y.toFloatArray();
      Tensor large = Tensor.zeros(1 << 18, 1);
      assertThrows(IllegalArgumentException.class, () -> linear.forward(large));
      assertArrayEquals(before, y.toFloatArray());
      linear.bias().close();
      assertThrows(IllegalStateException.class, () -> linear.forward(Tensor.zeros(64, 1)));
      assertArrayEquals(before, y.toFloatArray());
    }
  }

  @Test
  void aGradientOfItsOwnIsNoInput() {
    try (Linear linear = new Linear(2, 2)) {
      linear.forward(PyTorch.random(1, 2, 2));
      assertEquals(
          "dy is this Linear's own output or gradient, which the call would overwrite; copy it"
              + " first",
          assertThrows(
                  IllegalArgumentException.class,
                  () -> linear.backward(linear.parameters().get(0).grad()))
              .getMessage());
    }
  }

  /** The channels of a single sample lie without gaps. */
  @Test
  void takesSlicesOfASample() {
    Tensor wide = PyTorch.random(1, 1, 8, 3);
    Tensor slice = wide.narrow(1, 2, 4);
    Tensor copy = slice.to(MemoryFormat.CHANNELS_FIRST);
    try (Linear linear = new Linear(3, 2);
        InferenceModel model = InferenceModel.of(linear, 4, 3);
        BatchNorm1d bn = new BatchNorm1d(4)) {
      assertArrayEquals(linear.forward(copy).toFloatArray(), linear.forward(slice).toFloatArray());
      assertArrayEquals(
          model.forward(copy, Tensor.zeros(1, 4, 2)).toFloatArray(),
          model.forward(slice, Tensor.zeros(1, 4, 2)).toFloatArray());
      float[] expected = bn.forward(copy).toFloatArray();
      float[] before = wide.toFloatArray();
      bn.forward(slice, slice);
      System.arraycopy(expected, 0, before, 6, 12);
      assertArrayEquals(before, wide.toFloatArray());
    }
  }
}
