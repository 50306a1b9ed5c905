package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class SequentialTest {

  private static Sequential network(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    return new Sequential(
        new Conv2d(1, 3, kernel(3).padding(1), random),
        new LeakyReLU(0.1),
        new MaxPool2d(2),
        new Sequential(new Flatten(), new Linear(3 * 2 * 3, 4, random)));
  }

  @Test
  void gradientsEqualDifferences() {
    try (Sequential net = network(1)) {
      GradientCheck.check(net, PyTorch.random(2, 3, 1, 4, 6), 1e-3, 5e-3);
    }
  }

  @Test
  void gradientsThroughBatchNormsEqualDifferences() {
    SplittableRandom random = new SplittableRandom(1);
    try (Sequential net =
        new Sequential(
            // A bias in front of a batch norm has a gradient of zero.
            new Conv2d(2, 3, kernel(3).padding(1).bias(false), random),
            new BatchNorm2d(3),
            new LeakyReLU(0.1),
            new MaxPool2d(2),
            new Flatten(),
            new Linear(3 * 2 * 3, 4, false, random),
            new BatchNorm1d(4),
            new Linear(4, 2, random))) {
      GradientCheck.check(net, PyTorch.random(2, 8, 2, 4, 6), 1e-3, 5e-3);
    }
  }

  @Test
  void namesArePyTorchs() {
    try (Sequential net = network(1)) {
      assertEquals(
          List.of("0.weight", "0.bias", "3.1.weight", "3.1.bias"),
          List.copyOf(net.namedParameters().keySet()));
    }
    Linear first = new Linear(2, 3);
    ReLU second = new ReLU();
    try (Sequential net = new Sequential().add("first", first).add(second)) {
      assertEquals(List.of("first.weight", "first.bias"), List.copyOf(net.stateDict().keySet()));
      assertEquals(List.of("first", "1"), List.copyOf(net.children().keySet()));
      assertSame(first, net.get(0));
      assertSame(first, net.get("first"));
      assertSame(second, net.get("1"));
      assertEquals(2, net.size());
    }
  }

  @Test
  void textIsPyTorchs() {
    try (Sequential net = network(1)) {
      assertEquals(
          """
          Sequential(
            (0): Conv2d(1, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
            (1): LeakyReLU(negative_slope=0.1)
            (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
            (3): Sequential(
              (0): Flatten(start_dim=1, end_dim=-1)
              (1): Linear(in_features=18, out_features=4, bias=True)
            )
          )""",
          net.toString());
    }
    assertEquals("Sequential()", new Sequential().toString());
  }

  @Test
  void stateLoadsIntoAnotherInstance() {
    try (Sequential a = network(1);
        Sequential b = network(2)) {
      Tensor x = PyTorch.random(2, 3, 1, 4, 6);
      float[] expected = a.forward(x).toFloatArray();
      b.loadStateDict(a.stateDict());
      assertArrayEquals(expected, b.forward(x).toFloatArray());
    }
  }

  @Test
  void modeAndBackendReachEveryLayer() {
    try (Sequential net = network(1)) {
      net.eval();
      assertFalse(((Sequential) net.get(3)).get(1).isTraining());
      net.train();
      assertTrue(((Sequential) net.get(3)).get(1).isTraining());
      assertSame(net, net.backend(Backends.javaBackend()));
    }
  }

  @Test
  void saysWhichLayerRefused() {
    try (Sequential net = network(1)) {
      Tensor good = PyTorch.random(2, 3, 1, 4, 6);
      net.forward(good);
      Tensor dy = PyTorch.random(2, 3, 4);
      double[] dx = net.backward(dy).toDoubleArray();
      assertMessage(
          "layer 3: layer 1: x has 12 features in its last dimension (shape [3, 12]), but this"
              + " Linear was built for 18",
          () -> net.forward(PyTorch.random(2, 3, 1, 4, 4)));
      // No layer has run: it is the forward before that is differentiated.
      assertArrayEquals(dx, net.backward(dy).toDoubleArray());
    }
  }

  /** A call that throws has changed nothing, in the layers before the one that refuses neither. */
  @Test
  void aShapeThatALaterLayerRefusesChangesNothing() {
    SplittableRandom random = new SplittableRandom(1);
    try (Sequential net =
        new Sequential(
            new BatchNorm2d(1),
            new LazyBatchNorm2d(),
            new Residual(
                new Sequential(new Conv2d(1, 1, kernel(3).padding(1), random), new BatchNorm2d(1)),
                new BatchNorm2d(1),
                Activation.RELU),
            new Flatten(),
            new Linear(4, 3, random),
            new BatchNorm1d(3))) {
      Tensor x = PyTorch.random(1, 5, 1, 2, 2);
      Tensor dy = PyTorch.random(2, 5, 3);
      net.forward(x);
      double[] dx = net.backward(dy).toDoubleArray();
      Map<String, double[]> before = new LinkedHashMap<>();
      net.stateDict().forEach((name, t) -> before.put(name, t.toDoubleArray()));
      assertMessage(
          "layer 4: x has 6 features in its last dimension (shape [5, 6]), but this Linear was built"
              + " for 4",
          () -> net.forward(PyTorch.random(3, 5, 1, 2, 3)));
      // Enough values for the first batch norm, but not for the last.
      assertMessage(
          "layer 5: Expected more than 1 value per channel when training, got input size"
              + " torch.Size([1, 3])",
          () -> net.forward(PyTorch.random(4, 1, 1, 2, 2)));
      net.stateDict()
          .forEach((name, t) -> assertArrayEquals(before.get(name), t.toDoubleArray(), name));
      assertEquals(1, net.stateDict().get("2.body.1.num_batches_tracked").getLong());
      assertArrayEquals(dx, net.backward(dy).toDoubleArray());
      net.eval();
      assertEquals(3, net.forward(PyTorch.random(4, 1, 1, 2, 2)).size());
    }
    assertNotCounted(
        "layer 1: Expected more than 1 spatial element when training, got input size"
            + " torch.Size([4, 3, 1, 1])",
        new Sequential(new BatchNorm2d(3), new InstanceNorm2d(3)),
        PyTorch.random(1, 4, 3, 1, 1));
    assertNotCounted(
        "layer 1: Expected more than 1 spatial element when training, got input size"
            + " torch.Size([1, 4, 1, 1])",
        new Sequential(new BatchNorm1d(1), new InstanceNorm2d(4)),
        PyTorch.random(1, 4, 1, 1));
    assertNotCounted(
        "layer 2: Expected more than 1 value per channel when training, got input size"
            + " [1, 3, 1, 1]",
        new Sequential(new BatchNorm2d(3), new MaxPool2d(2), new GroupNorm(3, 3)),
        PyTorch.random(1, 1, 3, 2, 2));
    Module tracking = InstanceNorm2d.builder(3).trackRunningStats(true).build().eval();
    try (Sequential net = new Sequential(new BatchNorm2d(3), tracking)) {
      assertEquals(12, net.forward(PyTorch.random(1, 4, 3, 1, 1)).size());
    }
  }

  /** That the input is refused before the batch norm, the first layer, has counted it. */
  private static void assertNotCounted(String message, Sequential net, Tensor x) {
    try (net) {
      assertMessage(message, () -> net.forward(x));
      assertEquals(0, net.stateDict().get("0.num_batches_tracked").getLong());
    }
  }

  /** Of a layer that does not say what comes out of it, no one knows before it has run. */
  @Test
  void aLayerOfSomeoneElsesNeedNotSayItsShape() {
    Module twice =
        new Module() {
          @Override
          public Tensor forward(Tensor x) {
            return Tensor.of(x.toFloatArray(), x.size() / 2, 2);
          }

          @Override
          public Tensor backward(Tensor dy) {
            return dy;
          }
        };
    try (Sequential net = new Sequential(new BatchNorm1d(4), twice, new Linear(2, 3))) {
      assertEquals(Shape.of(6, 3), net.forward(PyTorch.random(1, 3, 4)).shape());
    }
  }

  @Test
  void refusesBadNamesAndTheSameLayerTwice() {
    ReLU relu = new ReLU();
    Sequential net = new Sequential(relu);
    assertMessage(
        "the layer ReLU() is already here, as \"0\"; it keeps the input of one forward, so make"
            + " another one",
        () -> net.add(relu));
    assertMessage("there is already a layer called \"0\"", () -> net.add("0", new ReLU()));
    assertMessage(
        "name must not be empty and must not contain a dot, but got \"a.b\"",
        () -> net.add("a.b", new ReLU()));
    assertMessage("there is no layer called \"x\"; there are [0]", () -> net.get("x"));
    assertEquals(1, net.size());
  }

  @Test
  void closeReachesEveryLayer() {
    Sequential net = network(1);
    net.close();
    assertTrue(((Sequential) net.get(3)).get(1).parameters().get(0).value().isClosed());
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  /** A layer keeps the input of one forward, at whatever depth it is. */
  @Test
  void aLayerIsThereOnce() {
    try (Linear linear = new Linear(2, 2);
        Sequential net = new Sequential(linear, new ReLU());
        Sequential inner = new Sequential(linear);
        Sequential other = new Sequential(new ReLU(), linear)) {
      String end = "; it keeps the input of one forward, so make another one";
      refused("the layer " + linear + " is already here, as \"0\"" + end, () -> net.add(inner));
      Sequential outer = new Sequential(net);
      refused(
          "the layer " + linear + " is already here, as \"0\" or within it" + end,
          () -> outer.add(linear));
      refused("a Sequential cannot be a layer of itself", () -> net.add(net));
      refused(
          "body and shortcut share the module " + linear + end,
          () -> new Residual(inner, other, Activation.NONE));
    }
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  /** The live tensors of a network, the layers' names exchanged. */
  @Test
  void layersAreSwappedByTheirOwnTensors() {
    try (Sequential net = new Sequential(new Linear(2, 2), new Linear(2, 2))) {
      Map<String, Tensor> own = net.stateDict();
      Map<String, float[]> before = new LinkedHashMap<>();
      own.forEach((key, tensor) -> before.put(key, tensor.toFloatArray()));
      Map<String, Tensor> swapped = new LinkedHashMap<>();
      own.forEach(
          (key, tensor) ->
              swapped.put((key.startsWith("0") ? "1" : "0") + key.substring(1), tensor));
      net.loadStateDict(swapped);
      net.stateDict()
          .forEach(
              (key, tensor) ->
                  assertArrayEquals(
                      before.get((key.startsWith("0") ? "1" : "0") + key.substring(1)),
                      tensor.toFloatArray(),
                      key));
      ((Linear) net.get(1)).bias().close();
      Tensor weight = net.stateDict().get("0.weight");
      float[] values = weight.toFloatArray();
      Map<String, Tensor> given = new LinkedHashMap<>();
      for (String key : own.keySet()) {
        given.put(key, Tensor.zerosLike(own.get(key)));
      }
      assertThrows(IllegalStateException.class, () -> net.loadStateDict(given));
      assertArrayEquals(values, weight.toFloatArray());
    }
  }
}
