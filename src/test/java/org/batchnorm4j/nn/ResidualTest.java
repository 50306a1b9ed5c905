package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.SplittableRandom;
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

class ResidualTest {
  private static final String BACKENDS = "org.batchnorm4j.TestBackends#all";

  /** One that ends in a batch norm, and one that does not. */
  private static Sequential body(boolean endsInBatchNorm) {
    SplittableRandom random = new SplittableRandom(1);
    Conv2d conv = new Conv2d(3, 4, kernel(3).padding(1), random);
    Sequential body = new Sequential(conv, new LeakyReLU(0.9));
    return endsInBatchNorm ? body.add(new Sequential(new BatchNorm2d(4))) : body;
  }

  private static Conv2d shortcut() {
    return new Conv2d(3, 4, kernel(1), new SplittableRandom(2));
  }

  @Test
  void gradientsEqualDifferences() {
    // Slopes near 1: differences across a kink are then off by little.
    for (Activation activation : List.of(Activation.NONE, Activation.leakyRelu(0.8))) {
      for (boolean fused : new boolean[] {false, true}) {
        try (Residual r = new Residual(body(fused), shortcut(), activation)) {
          GradientCheck.check(r, PyTorch.random(3, 2, 3, 4, 5), 1e-3, 2e-2);
        }
      }
      try (Residual r = new Residual(new Sequential(new LeakyReLU(0.8)), activation)) {
        GradientCheck.check(r, PyTorch.random(4, 3, 7), 1e-3, 2e-2);
      }
      try (Residual r = new Residual(new BatchNorm1d(7), activation)) {
        GradientCheck.check(r, PyTorch.random(5, 30, 7), 1e-3, 2e-2);
      }
    }
  }

  /** Sum and activation inside the batch norm's pass, and after it. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void onePassGivesTheBitsOfThree(BatchNormBackend backend) {
    for (Activation activation :
        List.of(Activation.NONE, Activation.RELU, Activation.leakyRelu(0.1))) {
      for (boolean training : new boolean[] {true, false}) {
        // A Flatten of (N, C) changes nothing, but hides the batch norm.
        try (Residual one = new Residual(new BatchNorm1d(70), activation);
            Residual three =
                new Residual(new Sequential(new BatchNorm1d(70), new Flatten()), activation)) {
          one.backend(backend).train(training);
          three.backend(backend).train(training);
          Tensor x = PyTorch.random(1, 300, 70);
          Tensor dy = PyTorch.random(2, 300, 70);
          for (int step = 0; step < 2; step++) {
            assertArrayEquals(three.forward(x).toFloatArray(), one.forward(x).toFloatArray());
            assertArrayEquals(three.backward(dy).toFloatArray(), one.backward(dy).toFloatArray());
          }
          assertArrayEquals(
              three.parameters().get(0).grad().toFloatArray(),
              one.parameters().get(0).grad().toFloatArray());
          assertArrayEquals(
              three.namedBuffers().get("body.0.running_mean").toFloatArray(),
              one.namedBuffers().get("body.running_mean").toFloatArray());
        }
      }
    }
  }

  @Test
  void sumsAndActivates() {
    Tensor x = Tensor.of(new float[] {-3, -1, 0, 2, Float.NaN}, 1, 5);
    try (Residual r = new Residual(new LeakyReLU(-3), Activation.leakyRelu(0.25))) {
      // body: 9, 3, 0, 2, NaN
      float[] y = {6, 2, 0, 4, Float.NaN};
      assertArrayEquals(y, r.forward(x).toFloatArray());
    }
    try (Residual r = new Residual(new LeakyReLU(0.5), new LeakyReLU(2), Activation.RELU)) {
      assertArrayEquals(new float[] {0, 0, 0, 4, Float.NaN}, r.forward(x).toFloatArray());
      Tensor dy = Tensor.of(new float[] {1, 1, 1, 1, 1}, 1, 5);
      float[] dx = r.backward(dy).toFloatArray();
      assertArrayEquals(new float[] {0, 0, 0, 2, 2.5f}, dx);
    }
  }

  @Test
  void channelsLastStays() {
    Tensor x = PyTorch.random(1, 2, 3, 4, 5).to(MemoryFormat.CHANNELS_LAST);
    try (Residual r = new Residual(new BatchNorm2d(3), Activation.RELU);
        Residual plain = new Residual(new LeakyReLU(0.1), Activation.RELU)) {
      for (Residual residual : List.of(r, plain)) {
        Tensor y = residual.forward(x);
        assertEquals(MemoryFormat.CHANNELS_LAST, y.format());
        assertEquals(MemoryFormat.CHANNELS_LAST, residual.backward(y.to(DType.F32)).format());
      }
      float[] first = r.forward(x).toFloatArray();
      float[] same = r.forward(x.to(MemoryFormat.CHANNELS_FIRST)).toFloatArray();
      assertArrayEquals(first, same);
    }
  }

  @Test
  void steadyStateKeepsItsTensors() {
    for (boolean fused : new boolean[] {false, true}) {
      try (Residual r = new Residual(body(fused), shortcut(), Activation.RELU)) {
        Tensor x = PyTorch.random(3, 2, 3, 4, 5);
        Tensor y = r.forward(x);
        Tensor dx = r.backward(PyTorch.random(4, 2, 4, 4, 5));
        assertSame(y, r.forward(x));
        assertSame(dx, r.backward(PyTorch.random(4, 2, 4, 4, 5)));
      }
    }
  }

  @Test
  void namesShapesAndText() {
    try (Residual r = new Residual(new BatchNorm1d(2), new Linear(2, 2), Activation.RELU)) {
      assertEquals(
          List.of(
              "body.weight",
              "body.bias",
              "body.running_mean",
              "body.running_var",
              "body.num_batches_tracked",
              "shortcut.weight",
              "shortcut.bias"),
          List.copyOf(r.stateDict().keySet()));
      assertEquals(Shape.of(9, 2), r.outputShape(Shape.of(9, 2)));
      assertEquals(
          """
          Residual(
            (body): BatchNorm1d(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
            (shortcut): Linear(in_features=2, out_features=2, bias=True)
            (activation): ReLU()
          )""",
          r.toString());
      r.eval();
      assertTrue(!r.body().isTraining() && !r.shortcut().isTraining());
    }
  }

  @Test
  void refusesWhatItCannotSum() {
    Residual r = new Residual(new Linear(3, 4), Activation.RELU);
    String shapes = "body and shortcut must give the same shape, but got [2, 4] and [2, 3]";
    refused(shapes, () -> r.forward(PyTorch.random(1, 2, 3)));
    refused(shapes, () -> r.outputShape(Shape.of(2, 3)));
    refused(
        "body: x has 5 features in its last dimension (shape [2, 5]), but this Linear was built"
            + " for 3",
        () -> r.forward(PyTorch.random(1, 2, 5)));
    refused(
        "x is F64, but Residual computes in F32; call to(DType.F32) first",
        () -> r.forward(Tensor.zeros(DType.F64, 2, 3)));
    Residual mixed = new Residual(new BatchNorm1d(3), new Linear(3, 4), Activation.NONE);
    refused(
        "body and shortcut must give the same shape, but got [2, 3] and [2, 4]",
        () -> mixed.forward(PyTorch.random(1, 2, 3)));
    ReLU relu = new ReLU();
    refused(
        "body and shortcut are the same module; it keeps the input of one forward, so make another"
            + " one",
        () -> new Residual(relu, relu, Activation.NONE));
  }

  @Test
  void refusesItsOwnTensorsAndABackwardWithoutForward() {
    for (Module body : List.of(new BatchNorm1d(3), new LeakyReLU())) {
      Residual r = new Residual(body, Activation.RELU);
      String none = "Residual.backward needs the input of a forward: call forward first";
      Tensor dy = PyTorch.random(1, 2, 3);
      assertEquals(
          none, assertThrows(IllegalStateException.class, () -> r.backward(dy)).getMessage());
      Tensor y = r.forward(PyTorch.random(1, 2, 3));
      refused(
          "x is this Residual's own output, which the call would overwrite; copy it first",
          () -> r.forward(y));
      Tensor dx = r.backward(dy);
      refused(
          "dy is this Residual's own gradient, which the call would overwrite; copy it first",
          () -> r.backward(dx));
      refused(
          "dy has shape [3, 3], but the output of this Residual has [2, 3]",
          () -> r.backward(PyTorch.random(1, 3, 3)));
      r.close();
      Tensor x = PyTorch.random(1, 2, 3);
      assertThrows(IllegalStateException.class, () -> r.forward(x));
      assertEquals(
          none, assertThrows(IllegalStateException.class, () -> r.backward(dy)).getMessage());
    }
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
