package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

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
import org.junit.jupiter.params.provider.ValueSource;

class ConvTest {

  /** Each seed is another convolution: sizes, stride, padding, dilation, groups, bias. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
  void equalsPyTorch(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    int groups = random.nextInt(1, 4);
    int in = groups * random.nextInt(1, 4);
    // Every third is depthwise.
    int out = (seed % 3 == 0 ? in : groups) * random.nextInt(1, 4);
    ConvOptions options =
        kernel(random.nextInt(1, 5), random.nextInt(1, 5))
            .stride(random.nextInt(1, 4), random.nextInt(1, 4))
            .padding(random.nextInt(0, 4), random.nextInt(0, 4))
            .dilation(random.nextInt(1, 3), random.nextInt(1, 3))
            .groups(seed % 3 == 0 ? in : groups)
            .bias(random.nextBoolean());
    int n = random.nextInt(0, 12);
    int height = random.nextInt(8, 20);
    int width = random.nextInt(8, 20);
    try (Conv2d conv = new Conv2d(in, out, options, random)) {
      check(conv, PyTorch.random(seed, n, in, height, width));
    }
    ConvOptions line =
        kernel(options.kernel().width())
            .stride(options.stride().width())
            .padding(options.padding().width())
            .dilation(options.dilation().width())
            .groups(options.groups())
            .bias(options.bias());
    try (Conv1d conv = new Conv1d(in, out, line, random)) {
      check(conv, PyTorch.random(seed, n, in, width));
    }
  }

  /** Planes of more than one block, and rows of more than one. */
  @Test
  void equalsPyTorchOnLargePlanes() {
    SplittableRandom random = new SplittableRandom(99);
    try (Conv2d conv = new Conv2d(20, 6, kernel(3).padding(1), random)) {
      check(conv, PyTorch.random(1, 2, 20, 70, 60));
    }
    try (Conv2d conv = new Conv2d(20, 6, kernel(3).padding(2).stride(2).dilation(2), random)) {
      check(conv, PyTorch.random(1, 2, 20, 131, 77));
    }
    try (Conv2d conv = new Conv2d(300, 2, kernel(5, 9).padding(3, 4), random)) {
      check(conv, PyTorch.random(1, 1, 300, 7, 40));
    }
    try (Conv1d conv = new Conv1d(30, 8, kernel(5).padding(2).dilation(3), random)) {
      check(conv, PyTorch.random(1, 3, 30, 2500));
    }
    try (Conv1d conv = new Conv1d(30, 8, kernel(5).padding(4).stride(3), random)) {
      check(conv, PyTorch.random(1, 1, 30, 8000));
    }
  }

  private static void check(Conv conv, Tensor x) {
    ConvOptions o = conv.convOptions();
    org.bytedeco.pytorch.Tensor tx = PyTorch.leaf(x);
    org.bytedeco.pytorch.Tensor tw = PyTorch.leaf(conv.weight().value());
    Parameter bias = conv.bias();
    org.bytedeco.pytorch.Tensor tb = bias == null ? null : PyTorch.leaf(bias.value());
    TensorOptional b = tb == null ? new TensorOptional() : new TensorOptional(tb);
    org.bytedeco.pytorch.Tensor ty =
        conv instanceof Conv1d
            ? torch.conv1d(
                tx,
                tw,
                b,
                new long[] {o.stride().width()},
                new long[] {o.padding().width()},
                new long[] {o.dilation().width()},
                o.groups())
            : torch.conv2d(
                tx,
                tw,
                b,
                new long[] {o.stride().height(), o.stride().width()},
                new long[] {o.padding().height(), o.padding().width()},
                new long[] {o.dilation().height(), o.dilation().width()},
                o.groups());
    // Rounding errors of long sums grow like a random walk.
    double tolerance = 1e-6 + 5e-8 * Math.sqrt(tw.numel() / tw.size(0));
    Tensor y = conv.forward(x);
    PyTorch.assertClose(conv + " y", ty, y, tolerance);
    Tensor dy = PyTorch.random(3, y.shape().toArray());
    PyTorch.backward(ty, dy);
    PyTorch.assertClose(conv + " dx", PyTorch.grad(tx), conv.backward(dy), tolerance);
    PyTorch.assertClose(conv + " dweight", PyTorch.grad(tw), conv.weight().grad(), tolerance);
    if (bias != null && tb != null) {
      PyTorch.assertClose(conv + " dbias", PyTorch.grad(tb), bias.grad(), tolerance);
    }
  }

  @Test
  void gradientsEqualDifferences() {
    ConvOptions options = kernel(3).stride(2).padding(1).dilation(2).groups(2);
    try (Conv2d conv = new Conv2d(4, 6, options)) {
      GradientCheck.check(conv, PyTorch.random(5, 3, 4, 9, 8), 0.5, 1e-5);
    }
    try (Conv1d conv = new Conv1d(4, 6, options)) {
      GradientCheck.check(conv, PyTorch.random(5, 3, 4, 9), 0.5, 1e-5);
    }
  }

  @Test
  void stateAndTextArePyTorchs() {
    try (Conv2d conv = new Conv2d(4, 6, kernel(3, 5).groups(2));
        Conv2d same = new Conv2d(3, 16, kernel(3).padding(1));
        Conv1d line =
            new Conv1d(4, 6, kernel(3).stride(2).padding(1).dilation(2).groups(2).bias(false))) {
      assertEquals(List.of("weight", "bias"), List.copyOf(conv.stateDict().keySet()));
      assertEquals(List.of("weight"), List.copyOf(line.stateDict().keySet()));
      assertEquals(Shape.of(6, 2, 3, 5), conv.weight().value().shape());
      assertEquals(Shape.of(6, 2, 3), line.weight().value().shape());
      assertEquals("Conv2d(4, 6, kernel_size=(3, 5), stride=(1, 1), groups=2)", conv.toString());
      assertEquals(
          "Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))", same.toString());
      assertEquals(
          "Conv1d(4, 6, kernel_size=(3,), stride=(2,), padding=(1,), dilation=(2,), groups=2,"
              + " bias=False)",
          line.toString());
    }
  }

  @Test
  void refusesWhatItCannotTake() {
    try (Conv2d conv = new Conv2d(3, 2, kernel(5).padding(1));
        Conv1d line = new Conv1d(3, 2, kernel(5))) {
      assertMessage(
          "expected 4D input (got 3D input): x has shape [3, 8, 8], Conv2d takes (N, C, H, W)",
          () -> conv.forward(Tensor.zeros(3, 8, 8)));
      assertMessage(
          "expected 3D input (got 2D input): x has shape [3, 8], Conv1d takes (N, C, L)",
          () -> line.forward(Tensor.zeros(3, 8)));
      assertMessage(
          "x has 4 channels (shape [1, 4, 8, 8]), but this Conv2d was built for 3",
          () -> conv.forward(Tensor.zeros(1, 4, 8, 8)));
      assertMessage(
          "x has size 2 in dimension 3 (shape [1, 3, 8, 2]), 4 with padding, but the kernel of"
              + " this Conv2d extends over 5",
          () -> conv.forward(Tensor.zeros(1, 3, 8, 2)));
      assertMessage(
          "x is channels last, but Conv2d needs contiguous channels-first data;"
              + " call to(MemoryFormat.CHANNELS_FIRST) first",
          () ->
              conv.forward(
                  Tensor.zeros(DType.F32, MemoryFormat.CHANNELS_LAST, Shape.of(1, 3, 8, 8))));
    }
    assertMessage(
        "inChannels and outChannels must be divisible by groups, but got 3, 4 and 2",
        () -> new Conv2d(3, 4, kernel(3).groups(2)));
    assertMessage(
        "kernel must be one number, because Conv1d has one dimension, but got 3 and 5",
        () -> new Conv1d(3, 4, kernel(3, 5)));
    assertMessage("kernel must be at least 1, but got 0", () -> kernel(0));
    assertMessage("stride must be at least 1, but got 0", () -> kernel(1).stride(0));
    assertMessage("padding must be at least 0, but got -1", () -> kernel(1).padding(-1));
    assertMessage("dilation must be at least 1, but got 0", () -> kernel(1).dilation(1, 0));
    assertMessage("groups must be at least 1, but got 0", () -> kernel(1).groups(0));
    assertMessage("inChannels must be at least 1, but got 0", () -> new Conv1d(0, 1, kernel(1)));
    assertMessage("outChannels must be at least 1, but got 0", () -> new Conv1d(1, 0, kernel(1)));
  }

  private static void assertMessage(String expected, Runnable call) {
    assertEquals(expected, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  /** Blocks that lie in the padding alone, behind the last channel; and no int overflows. */
  @Test
  void largePaddingAndStride() {
    try (Conv2d conv = new Conv2d(512, 8, kernel(3).padding(5).bias(false));
        Conv2d inner = new Conv2d(512, 8, kernel(3).padding(2).bias(false))) {
      inner.loadStateDict(conv.stateDict());
      Tensor x = PyTorch.random(1, 1, 512, 4, 4);
      Tensor y = conv.forward(x);
      Tensor expected = inner.forward(x);
      for (int c = 0; c < 8; c++) {
        for (int i = 0; i < 12; i++) {
          for (int j = 0; j < 12; j++) {
            boolean outside = Math.min(i, j) < 3 || Math.max(i, j) > 8;
            double value = outside ? 0 : expected.get(0, c, i - 3, j - 3);
            assertEquals(value, y.get(0, c, i, j), 1e-4);
          }
        }
      }
    }
    int most = Integer.MAX_VALUE;
    try (Conv1d conv = new Conv1d(1, 1, kernel(1).padding(most).stride(most).bias(false))) {
      conv.parameters().get(0).value().fill(1);
      assertArrayEquals(
          new float[] {0, 5, 0},
          conv.forward(Tensor.of(new float[] {5, 6, 7, 8}, 1, 1, 4)).toFloatArray());
    }
  }
}
