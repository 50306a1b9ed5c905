package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.MathContext;
import java.util.List;
import java.util.SplittableRandom;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class FusionTest {

  /** Values as trained networks have them: gammas of any sign, variances of any size. */
  private static <T extends BatchNorm> T trained(BatchNorm.Builder<T> builder, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    T bn = builder.build();
    for (long c = 0; c < bn.numFeatures(); c++) {
      if (bn.weight() != null) {
        bn.weight().value().set(random.nextGaussian(), c);
        bn.bias().value().set(random.nextGaussian(), c);
      }
      bn.runningMean().set(random.nextGaussian() * 2, c);
      bn.runningVar().set(Math.exp(random.nextGaussian() * 3), c);
    }
    bn.eval();
    return bn;
  }

  /** The network without fusion, in double. */
  private static org.bytedeco.pytorch.Tensor torchBatchNorm(
      BatchNorm bn, org.bytedeco.pytorch.Tensor x) {
    TensorOptional none = new TensorOptional();
    boolean affine = bn.weight() != null;
    return torch.batch_norm(
        x,
        affine ? constant(bn.weight().value()) : none,
        affine ? constant(bn.bias().value()) : none,
        constant(bn.runningMean()),
        constant(bn.runningVar()),
        false,
        0.1,
        bn.eps(),
        false);
  }

  private static TensorOptional constant(Tensor t) {
    return new TensorOptional(PyTorch.leaf(t).detach());
  }

  /** Each seed is another convolution: groups, depthwise, with and without bias and affine. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
  void aFoldedConvolutionEqualsPyTorchUnfolded(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    int groups = random.nextInt(1, 4);
    int in = groups * random.nextInt(1, 4);
    int out = groups * random.nextInt(1, 4);
    boolean affine = seed % 3 != 0;
    ConvOptions options = kernel(3).padding(1).groups(groups).bias(seed % 2 == 0);

    Conv2d conv = new Conv2d(in, out, options, random);
    BatchNorm2d bn = trained(BatchNorm2d.builder(out).affine(affine).eps(1e-3), seed);
    conv.eval();
    Conv2d folded = Fusion.fuseConvBatchNorm(conv, bn);
    Tensor x = PyTorch.random(seed, 3, in, 6, 5);
    org.bytedeco.pytorch.Tensor expected = torchBatchNorm(bn, PyTorch.leaf(conv.forward(x)));
    PyTorch.assertClose("2d", expected, folded.forward(x), 3e-6);
    assertEquals(options.bias(true), folded.convOptions());
    assertFalse(folded.isTraining());

    Conv1d line = new Conv1d(in, out, options, random);
    BatchNorm1d bn1 = trained(BatchNorm1d.builder(out).affine(affine), seed);
    line.eval();
    Conv1d folded1 = Fusion.fuseConvBatchNorm(line, bn1);
    Tensor x1 = PyTorch.random(seed, 3, in, 9);
    PyTorch.assertClose(
        "1d", torchBatchNorm(bn1, PyTorch.leaf(line.forward(x1))), folded1.forward(x1), 3e-6);
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4})
  void aFoldedLinearEqualsPyTorchUnfolded(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    Linear linear = new Linear(12, 7, seed % 2 == 0, random);
    linear.eval();
    BatchNorm1d bn = trained(BatchNorm1d.builder(7).affine(seed > 2), seed);
    Tensor x = PyTorch.random(seed, 5, 12);
    Linear folded = Fusion.fuseLinearBatchNorm(linear, bn);
    PyTorch.assertClose(
        "linear", torchBatchNorm(bn, PyTorch.leaf(linear.forward(x))), folded.forward(x), 3e-6);

    BatchNorm1d one = trained(BatchNorm1d.builder(1).affine(seed > 2), seed);
    Linear foldedOne = Fusion.fuseLinearBatchNorm(linear, one);
    Tensor x3 = PyTorch.random(seed, 5, 1, 12);
    PyTorch.assertClose(
        "one channel",
        torchBatchNorm(one, PyTorch.leaf(linear.forward(x3))),
        foldedOne.forward(x3),
        3e-6);
  }

  /** W * gamma / sqrt(var + eps) is the exact number, rounded to float. */
  @Test
  void weightsAreRoundedOnce() {
    Linear linear = new Linear(40, 20);
    linear.eval();
    BatchNorm1d bn = trained(BatchNorm1d.builder(20).eps(1e-7), 5);
    Linear folded = Fusion.fuseLinearBatchNorm(linear, bn);
    MathContext exact = new MathContext(40);
    BigDecimal eps = new BigDecimal(bn.eps());
    for (int o = 0; o < 20; o++) {
      BigDecimal std = new BigDecimal(bn.runningVar().get(o)).add(eps).sqrt(exact);
      BigDecimal scale = new BigDecimal(bn.weight().value().get(o)).divide(std, exact);
      for (int i = 0; i < 40; i++) {
        BigDecimal w = new BigDecimal(linear.weight().value().get(o, i)).multiply(scale);
        assertRounded(w, folded.weight().value().get(o, i), w);
      }
      BigDecimal centred =
          new BigDecimal(linear.bias().value().get(o))
              .subtract(new BigDecimal(bn.runningMean().get(o)))
              .multiply(scale);
      BigDecimal beta = new BigDecimal(bn.bias().value().get(o));
      assertRounded(centred.add(beta), folded.bias().value().get(o), centred.abs().max(beta.abs()));
    }
  }

  /** Within half an ulp, and what double arithmetic on the largest term may lose. */
  private static void assertRounded(BigDecimal exact, double actual, BigDecimal largestTerm) {
    double error = exact.subtract(new BigDecimal(actual)).abs().doubleValue();
    double ulp = Math.ulp((float) actual);
    assertTrue(
        error <= 0.5 * ulp + 8 * Math.ulp(largestTerm.doubleValue()),
        () -> exact + " became " + actual + ", off by " + error / ulp + " ulp");
  }

  @Test
  void theFoldedLayerSharesNothing() {
    Conv2d conv = new Conv2d(2, 3, kernel(1));
    BatchNorm2d bn = trained(BatchNorm2d.builder(3), 1);
    conv.eval();
    float[] weight = conv.weight().value().toFloatArray();
    Conv2d folded = Fusion.fuseConvBatchNorm(conv, bn);
    Tensor x = PyTorch.random(1, 2, 2, 3, 3);
    float[] y = folded.forward(x).toFloatArray();
    assertArrayEquals(weight, conv.weight().value().toFloatArray());
    conv.close();
    bn.runningMean().fill(9);
    bn.close();
    assertArrayEquals(y, folded.forward(x).toFloatArray());
  }

  @Test
  void refusesWhatCannotBeFolded() {
    Conv2d conv = new Conv2d(2, 3, kernel(1));
    BatchNorm2d bn = new BatchNorm2d(3);
    String training =
        " is in training mode, in which a batch norm normalizes with the statistics of each batch,"
            + " which no weights can hold: call eval() first";
    illegalState("conv" + training, () -> Fusion.fuseConvBatchNorm(conv, bn));
    conv.eval();
    illegalState("bn" + training, () -> Fusion.fuseConvBatchNorm(conv, bn));
    BatchNorm2d untracked = BatchNorm2d.builder(3).trackRunningStats(false).build();
    untracked.eval();
    refused(
        "bn has no running statistics: it normalizes with those of each batch, which no weights"
            + " can hold",
        () -> Fusion.fuseConvBatchNorm(conv, untracked));
    BatchNorm2d wide = trained(BatchNorm2d.builder(4), 1);
    refused("bn has 4 channels, but conv gives 3", () -> Fusion.fuseConvBatchNorm(conv, wide));
    BatchNorm2d doubles = trained(BatchNorm2d.builder(3).dtype(DType.F64), 1);
    refused("bn is F64, but conv computes in F32", () -> Fusion.fuseConvBatchNorm(conv, doubles));
    Linear linear = new Linear(2, 3);
    linear.eval();
    BatchNorm1d two = trained(BatchNorm1d.builder(2), 1);
    refused("bn has 2 channels, but linear gives 3", () -> Fusion.fuseLinearBatchNorm(linear, two));
    conv.close();
    BatchNorm2d good = trained(BatchNorm2d.builder(3), 1);
    assertThrows(IllegalStateException.class, () -> Fusion.fuseConvBatchNorm(conv, good));
  }

  /** Here PyTorch folds the wrong dimension without a word. */
  @Test
  void aFoldedLinearRefusesOtherRanks() {
    Linear linear = new Linear(5, 3);
    linear.eval();
    Linear three = Fusion.fuseLinearBatchNorm(linear, trained(BatchNorm1d.builder(3), 1));
    String message =
        "x has shape [2, 3, 5], but a BatchNorm1d(3) is folded into this Linear, which takes"
            + " (N, 5) now";
    refused(message, () -> three.forward(PyTorch.random(1, 2, 3, 5)));
    refused(message, () -> three.copy().forward(PyTorch.random(1, 2, 3, 5)));
    Linear one = Fusion.fuseLinearBatchNorm(linear, trained(BatchNorm1d.builder(1), 1));
    refused(
        "x has shape [2, 5], but a BatchNorm1d(1) is folded into this Linear, which takes"
            + " (N, 1, 5) now",
        () -> one.forward(PyTorch.random(1, 2, 5)));
    assertThrows(IllegalArgumentException.class, () -> three.forward(PyTorch.random(1, 5)));
  }

  // ------------------------------------------------------------------------------- whole networks

  private static Sequential network() {
    SplittableRandom random = new SplittableRandom(3);
    Sequential block =
        new Sequential(
            new Conv2d(4, 4, kernel(3).padding(1).bias(false), random),
            trained(BatchNorm2d.builder(4), 2),
            new ReLU(),
            new Conv2d(4, 4, kernel(3).padding(1).bias(false), random),
            new Dropout(0.3),
            trained(BatchNorm2d.builder(4), 3));
    Sequential shortcut =
        new Sequential(
            new Conv2d(4, 4, kernel(1).bias(false), random), trained(BatchNorm2d.builder(4), 4));
    Sequential net =
        new Sequential()
            .add("stem", new Conv2d(2, 4, kernel(3).padding(1), random))
            .add("bn", trained(BatchNorm2d.builder(4), 1))
            .add(new ReLU())
            .add("block", new Residual(block, shortcut, Activation.RELU))
            .add(new MaxPool2d(2))
            .add("pre", trained(BatchNorm2d.builder(4), 5))
            .add(new LeakyReLU(0.2))
            .add(new Flatten())
            .add("fc", new Sequential(new Linear(16, 5, random), new Dropout(0.5)))
            .add("last", trained(BatchNorm1d.builder(5), 6));
    net.eval();
    return net;
  }

  @Test
  void aNetworkIsFolded() {
    Sequential net = network();
    Tensor x = PyTorch.random(1, 3, 2, 4, 4);
    float[] expected = net.forward(x).toFloatArray();
    Sequential fused = net.fuse();
    double[] wanted = net.forward(x).toDoubleArray();
    PyTorch.assertClose("fused", wanted, fused.forward(x).toDoubleArray(), 5e-6);
    assertArrayEquals(expected, net.forward(x).toFloatArray(), "the original is as it was");
    String bn = ", eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)";
    assertEquals(
        """
        Sequential(
          (stem): Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (2): ReLU()
          (block): Residual(
            (body): Sequential(
              (0): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
              (2): ReLU()
              (3): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
              (5): BatchNorm2d(4BN
            )
            (shortcut): Sequential(
              (0): Conv2d(4, 4, kernel_size=(1, 1), stride=(1, 1))
            )
            (activation): ReLU()
          )
          (4): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
          (pre): BatchNorm2d(4BN + LeakyReLU(negative_slope=0.2)
          (7): Flatten(start_dim=1, end_dim=-1)
          (fc): Sequential(
            (0): Linear(in_features=16, out_features=5, bias=True)
          )
          (last): BatchNorm1d(5BN
        )"""
            .replace("BN", bn),
        fused.toString());
    net.close();
    PyTorch.assertClose("alone", wanted, fused.forward(x).toDoubleArray(), 5e-6);
  }

  /** Where nothing is folded no bit changes, and the state keeps its names. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void theFusedKernelsGiveTheSameBits(BatchNormBackend backend) {
    Sequential net =
        new Sequential(
            trained(BatchNorm2d.builder(4), 1),
            new ReLU(),
            trained(BatchNorm2d.builder(4), 2),
            new LeakyReLU(0.3),
            trained(BatchNorm2d.builder(4), 3),
            new LeakyReLU(-1),
            new Residual(trained(BatchNorm2d.builder(4), 4), Activation.RELU));
    net.backend(backend).eval();
    Sequential fused = net.fuse();
    assertEquals(List.of("0", "2", "4", "5", "6"), List.copyOf(fused.children().keySet()));
    assertEquals(List.copyOf(net.stateDict().keySet()), List.copyOf(fused.stateDict().keySet()));
    Tensor x = PyTorch.random(1, 3, 4, 5, 5);
    assertArrayEquals(net.forward(x).toFloatArray(), fused.forward(x).toFloatArray());
    Tensor dy = PyTorch.random(2, 3, 4, 5, 5);
    assertArrayEquals(net.backward(dy).toFloatArray(), fused.backward(dy).toFloatArray());
    fused.loadStateDict(net.stateDict());
    assertArrayEquals(net.forward(x).toFloatArray(), fused.forward(x).toFloatArray());
    Sequential again = fused.fuse();
    assertArrayEquals(net.forward(x).toFloatArray(), again.forward(x).toFloatArray());
  }

  @Test
  void whatCannotBeFoldedStays() {
    BatchNorm1d untracked = BatchNorm1d.builder(6).trackRunningStats(false).build();
    Sequential net = new Sequential(new Linear(4, 6), untracked, new Dropout());
    net.eval();
    Tensor x = PyTorch.random(1, 5, 4);
    Sequential fused = net.fuse();
    assertEquals(2, fused.size());
    assertArrayEquals(net.forward(x).toFloatArray(), fused.forward(x).toFloatArray());
  }

  @Test
  void aFusedNetworkCannotBeTrained() {
    Sequential net = new Sequential(new Linear(4, 6), new BatchNorm1d(6));
    String message =
        " is in training mode, in which a batch norm normalizes with the statistics of each batch,"
            + " which no weights can hold: call eval() first";
    illegalState("Sequential" + message, net::fuse);
    net.eval();
    net.get(1).train();
    illegalState("layer 1" + message, net::fuse);
    net.eval();
    Sequential fused = net.fuse();
    String refusal =
        "this Sequential was made by fuse() and can only evaluate: train the network it was made"
            + " from, and fuse that again";
    illegalState(refusal, fused::train);
    Sequential outer = new Sequential(new ReLU(), fused);
    outer.eval();
    illegalState(refusal, outer::train);
    assertFalse(outer.isTraining());
    assertFalse(outer.get(0).isTraining());
    illegalState(refusal, () -> fused.copy().train());
    illegalState(refusal.replace("Sequential", "Linear"), () -> fused.get(0).train());
    illegalState(refusal.replace("Sequential", "Linear"), () -> fused.copy().get(0).train());
    fused.eval();
    Module block = new Residual(new Sequential(new BatchNorm1d(3), new ReLU()));
    Sequential residual = new Sequential(block);
    residual.eval();
    Residual inner = (Residual) residual.fuse().get(0);
    illegalState(refusal, () -> inner.body().train());
    illegalState(
        refusal.replace("Sequential", "BatchNorm1d + ReLU"),
        () -> ((Sequential) inner.body()).get(0).train());
  }

  @Test
  void aLayerNobodyCanCopyIsRefused() {
    Sequential net = new Sequential(new PassThrough());
    net.eval();
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, net::fuse);
    assertTrue(e.getMessage().contains("cannot be copied"), e.getMessage());
  }

  /** A copy has the values, options and modes of each layer, and shares no memory. */
  @Test
  void copiesAreWhole() {
    Sequential net = network();
    net.train();
    net.get("bn").eval();
    ((BatchNorm) net.get("pre")).setTrackRunningStats(false);
    ((BatchNorm) net.get("last")).setMomentum(null);
    Sequential copy = net.copy();
    assertEquals(net.toString(), copy.toString());
    assertFalse(copy.get("bn").isTraining());
    assertTrue(copy.get("pre").isTraining());
    Tensor x = PyTorch.random(1, 3, 2, 4, 4);
    float[] expected = net.forward(x).toFloatArray();
    for (Tensor t : net.stateDict().values()) {
      t.fill(3);
    }
    net.close();
    assertArrayEquals(expected, copy.forward(x).toFloatArray());
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static void illegalState(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalStateException.class, call).getMessage());
  }
}
