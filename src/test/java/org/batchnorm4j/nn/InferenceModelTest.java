package org.batchnorm4j.nn;

import static org.batchnorm4j.nn.ConvOptions.kernel;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class InferenceModelTest {

  /** Statistics and weights as after training: nothing is 0 or 1. */
  private static <M extends Module> M trained(M module) {
    SplittableRandom random = new SplittableRandom(5);
    module
        .stateDict()
        .forEach(
            (name, t) -> {
              if (t.dtype() == DType.F32) {
                double[] values = t.toDoubleArray();
                for (int i = 0; i < values.length; i++) {
                  values[i] =
                      name.endsWith("running_var")
                          ? Math.exp(random.nextGaussian())
                          : name.endsWith("running_mean") || t.shape().rank() == 1
                              ? random.nextGaussian()
                              : values[i];
                }
                t.copyFrom(values);
              }
            });
    return module;
  }

  private static Sequential mlp() {
    return trained(
        new Sequential(
            new Linear(10, 50),
            new BatchNorm1d(50),
            new ReLU(),
            new Dropout(0.5),
            new Linear(50, 2)));
  }

  private static Sequential cnn() {
    SplittableRandom random = new SplittableRandom(1);
    return trained(
        new Sequential(
            new Sequential(
                new Conv2d(2, 6, kernel(3).padding(1), random), new BatchNorm2d(6), new ReLU()),
            new MaxPool2d(3, 2, 1),
            new Conv2d(6, 9, kernel(3, 2).groups(3).stride(1, 2).bias(false), random),
            new LeakyReLU(0.2),
            new BatchNorm2d(9),
            new Flatten(),
            new Linear(9 * 4 * 3, 7, random),
            new BatchNorm1d(7)));
  }

  private static Sequential resnet() {
    SplittableRandom random = new SplittableRandom(2);
    Module block =
        new Sequential(
            new Conv2d(3, 5, kernel(3).padding(1), random),
            new BatchNorm2d(5),
            new ReLU(),
            new Conv2d(5, 5, kernel(3).padding(1), random),
            new BatchNorm2d(5));
    Module shortcut = new Sequential(new Conv2d(3, 5, kernel(1), random), new BatchNorm2d(5));
    Residual inner = new Residual(new BatchNorm2d(5), Activation.leakyRelu(0.3));
    return trained(
        new Sequential(
            new Residual(block, shortcut, Activation.RELU),
            new Residual(new Sequential(inner, new ReLU())),
            new Residual(new Sequential(), Activation.RELU),
            new Residual(new ReLU(), new LeakyReLU(2), Activation.NONE),
            new MaxPool2d(2)));
  }

  private static Sequential lazy() {
    Sequential net = new Sequential(new Linear(4, 5), new LazyBatchNorm1d(), new ReLU());
    net.forward(PyTorch.random(1, 9, 4));
    return trained(net);
  }

  static Stream<Arguments> networks() {
    return Stream.of(
        network("mlp", InferenceModelTest::mlp, 10),
        network("cnn", InferenceModelTest::cnn, 2, 11, 12),
        network("resnet", InferenceModelTest::resnet, 3, 6, 8),
        network("fused", () -> eval(resnet()).fuse(), 3, 6, 8),
        network("scaler", () -> trained(new BatchNorm1d(100)), 100),
        network("planes", () -> trained(new BatchNorm3d(3)), 3, 2, 3, 4),
        network("points", () -> trained(new BatchNorm2d(33)), 33, 1, 1),
        network(
            "conv1d",
            () ->
                trained(
                    new Sequential(
                        new Conv1d(4, 6, kernel(5).padding(4).dilation(2).stride(3)),
                        new BatchNorm1d(6),
                        new ReLU(),
                        new MaxPool1d(2))),
            4,
            50),
        network(
            "rows of (N, C, L), where batch norm and Linear look at different dimensions",
            () ->
                trained(
                    new Sequential(
                        new Linear(5, 3), new BatchNorm1d(3), new ReLU(), new Linear(3, 4))),
            3,
            5),
        network(
            "other norms",
            () ->
                trained(
                    new Sequential(
                        new Conv2d(2, 4, kernel(3)),
                        new GroupNorm(2, 4),
                        new InstanceNorm2d(4),
                        new BatchNorm2d(4),
                        new Flatten(),
                        new LayerNorm(4 * 16),
                        new Linear(64, 3))),
            2,
            6,
            6),
        network(
            "large planes",
            () ->
                trained(
                    new Sequential(
                        new Conv2d(20, 3, kernel(3).padding(1)),
                        new BatchNorm2d(3),
                        new ReLU(),
                        new Conv2d(3, 20, kernel(3).stride(2).padding(2).dilation(2)))),
            20,
            90,
            100),
        network("lazy", InferenceModelTest::lazy, 4),
        network("nothing", Sequential::new, 3, 2));
  }

  private static Arguments network(String name, Supplier<Module> make, long... sample) {
    return Arguments.of(name, make, sample);
  }

  private static Sequential eval(Sequential net) {
    net.eval();
    return net;
  }

  private static long[] batch(long n, long[] sample) {
    long[] shape = new long[sample.length + 1];
    shape[0] = n;
    System.arraycopy(sample, 0, shape, 1, sample.length);
    return shape;
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("networks")
  void computesWhatTheModuleDoes(String name, Supplier<Module> make, long[] sample) {
    boolean large = Shape.of(sample).size() > 1000;
    try (Module net = make.get();
        InferenceModel model = InferenceModel.of(net, sample)) {
      net.eval();
      for (int n : large ? new int[] {1, 3} : new int[] {0, 1, 2, 3, 4, 7, 8, 63, 64, 65, 150}) {
        Tensor x = PyTorch.random(n, batch(n, sample));
        Tensor y = net.forward(x);
        double[] expected = y.toDoubleArray();
        Tensor out = Tensor.zeros(y.shape().toArray());
        assertSame(out, model.forward(x, out));
        PyTorch.assertClose(name + " " + n, expected, out.toDoubleArray(), 1e-5);
        float[] values = new float[expected.length];
        assertSame(values, model.forward(x.toFloatArray(), values));
        assertArrayEquals(out.toFloatArray(), values);
      }
      assertEquals(Shape.of(batch(1, sample)), model.inputShape());
      assertEquals(net.outputShape(Shape.of(batch(1, sample))), model.outputShape());
    }
  }

  /** A batch norm alone has the bits of the module. */
  @Test
  void aScalerHasTheBitsOfTheBatchNorm() {
    for (BatchNorm bn :
        List.of(
            trained(new BatchNorm1d(100)),
            trained(BatchNorm1d.builder(100).affine(false).eps(0.3).build()),
            trained(new BatchNorm1d(1)),
            trained(new BatchNorm1d(3000)))) {
      bn.eval();
      for (long[] sample :
          new long[][] {{bn.numFeatures()}, {bn.numFeatures(), 1}, {bn.numFeatures(), 37}}) {
        Tensor x = PyTorch.random(1, batch(70, sample));
        float[] expected = bn.forward(x).toFloatArray();
        float[] values = x.toFloatArray();
        int size = values.length;
        String what = bn + " " + Arrays.toString(sample);
        try (InferenceModel model = InferenceModel.of(bn, sample)) {
          float[] padded = new float[size + 5];
          model.forward(70, values, 0, padded, 3);
          assertArrayEquals(expected, Arrays.copyOfRange(padded, 3, 3 + size), what);
          assertEquals(0, padded[2] + padded[3 + size], what);
          System.arraycopy(values, 0, padded, 3, size);
          model.forward(70, padded, 3, padded, 3);
          assertArrayEquals(expected, Arrays.copyOfRange(padded, 3, 3 + size), what);
          Tensor out = Tensor.zerosLike(x);
          assertArrayEquals(expected, model.forward(x, out).toFloatArray(), what);
          out.fill(0);
          model.forward(Tensor.wrap(values, batch(70, sample)), out);
          assertArrayEquals(expected, out.toFloatArray(), what + ", to native memory");
          model.forward(x, x);
          assertArrayEquals(expected, x.toFloatArray(), what);
        }
        try (BatchNormStep inJava = new BatchNormStep(bn, size / 70 / (int) sample[0], null);
            Step.Runner runner = inJava.newRunner(70)) {
          float[] out = new float[size];
          runner.run(values, out, 70);
          assertArrayEquals(expected, out, what);
        } catch (Exception e) {
          throw new AssertionError(e);
        }
      }
    }
  }

  /** Small layers give the same bits alone and in any batch; a ReLU in between lets NaN through. */
  @Test
  void theBatchDoesNotChangeTheBits() {
    try (InferenceModel model = InferenceModel.of(mlp(), 10)) {
      float[] x = PyTorch.random(3, 130, 10).toFloatArray();
      x[57] = Float.NaN;
      float[] all = model.forward(x, new float[260]);
      for (int n : new int[] {1, 2, 3, 7, 64, 65}) {
        for (int from = 0; from + n <= 130; from += n) {
          float[] part = new float[2 * n];
          model.forward(n, x, 10 * from, part, 0);
          assertArrayEquals(Arrays.copyOfRange(all, 2 * from, 2 * (from + n)), part);
        }
      }
      assertTrue(Float.isNaN(all[10]) && Float.isNaN(all[11]), "NaN in, NaN out");
      assertFalse(Float.isNaN(all[8]), "for its sample alone");
    }
  }

  @Test
  void theModelIsACopyAndTheModuleStaysAsItIs() {
    Sequential net = cnn();
    net.get(4).eval();
    String before = net.toString();
    double[] mean = net.stateDict().get("4.running_mean").toDoubleArray();
    float[] x = PyTorch.random(1, 5, 2, 11, 12).toFloatArray();
    InferenceModel model = InferenceModel.of(net, 2, 11, 12);
    float[] expected = model.forward(x, new float[35]);
    assertTrue(net.isTraining());
    assertFalse(net.get(4).isTraining());
    assertEquals(before, net.toString());
    assertArrayEquals(mean, net.stateDict().get("4.running_mean").toDoubleArray());
    net.stateDict().values().forEach(t -> t.fill(7));
    net.close();
    assertArrayEquals(expected, model.forward(x, new float[35]));
  }

  /** A layer that counts how many copies of it are open. */
  private static final class Counted extends PassThrough {
    private final AtomicInteger open;

    Counted(AtomicInteger open) {
      this.open = open;
    }

    @Override
    public Shape outputShape(Shape x) {
      return x;
    }

    @Override
    Module copy() {
      open.incrementAndGet();
      return new Counted(open);
    }

    @Override
    public void close() {
      open.decrementAndGet();
    }
  }

  @Test
  void closesAllThatItCopied() {
    AtomicInteger open = new AtomicInteger();
    Module block = new Residual(new Counted(open), new Counted(open), Activation.RELU);
    InferenceModel model = InferenceModel.of(new Sequential(new Residual(block)), 3);
    model.forward(new float[6], new float[6]);
    assertTrue(open.get() > 0);
    model.close();
    assertEquals(0, open.get());
  }

  @Test
  void partsOfArraysAndInPlace() {
    try (InferenceModel model = InferenceModel.of(mlp(), 10);
        InferenceModel square =
            InferenceModel.of(new Sequential(new Linear(4, 4), new ReLU(), new Linear(4, 4)), 4)) {
      float[] x = PyTorch.random(1, 70, 10).toFloatArray();
      float[] all = model.forward(x, new float[140]);
      float[] out = new float[200];
      Arrays.fill(out, 9);
      model.forward(68, x, 20, out, 50);
      for (int i = 0; i < 200; i++) {
        float expected = i < 50 || i >= 186 ? 9 : all[i - 50 + 4];
        assertEquals(expected, out[i], "number " + i);
      }
      float[] values = PyTorch.random(2, 99, 4).toFloatArray();
      float[] expected = square.forward(values, new float[values.length]);
      assertArrayEquals(expected, square.forward(values, values));
      Tensor t = PyTorch.random(2, 99, 4);
      assertArrayEquals(expected, square.forward(t, t).toFloatArray());
      Tensor wide = PyTorch.random(2, 100, 4);
      double[] first = wide.narrow(0, 0, 1).toDoubleArray();
      Tensor behind = wide.narrow(0, 1, 99);
      float[] twice = square.forward(expected, new float[expected.length]);
      assertArrayEquals(twice, square.forward(t, behind).toFloatArray());
      assertArrayEquals(first, wide.narrow(0, 0, 1).toDoubleArray());
    }
  }

  // ---------------------------------------------------------------------------------------- errors

  @Test
  void refusesWhatCannotBeFrozen() {
    refused(
        "layer 1: x has 9 channels, this BatchNorm1d was built for 8",
        () -> InferenceModel.of(new Sequential(new Linear(4, 9), new BatchNorm1d(8)), 4));
    BatchNorm1d untracked = BatchNorm1d.builder(3).trackRunningStats(false).build();
    refused(
        untracked
            + " has no running statistics: it normalizes with those of each batch, and cannot be"
            + " frozen",
        () -> InferenceModel.of(new Sequential(new ReLU(), untracked), 3));
    BatchNorm1d doubles = BatchNorm1d.builder(3).dtype(DType.F64).build();
    refused(
        doubles + " is F64, but an InferenceModel computes in F32",
        () -> InferenceModel.of(doubles, 3));
    GroupNorm doubleGroups = new GroupNorm(3, 6, 1e-5, true, DType.F64);
    refused(
        doubleGroups + " is F64, but an InferenceModel computes in F32",
        () -> InferenceModel.of(doubleGroups, 6, 4));
    refused(
        "sampleShape must have no dimension of 0, but got [3, 0]",
        () -> InferenceModel.of(new ReLU(), 3, 0));
    InstanceNorm2d instances = new InstanceNorm2d(3);
    refused(
        instances
            + ": Expected more than 1 spatial element when training, got input size"
            + " torch.Size([1, 3, 1, 1])",
        () -> InferenceModel.of(new Sequential(new ReLU(), instances), 3, 1, 1));
    GroupNorm groups = new GroupNorm(3, 3);
    refused(
        groups
            + ": Expected more than 1 value per channel when training, got input size [1, 3, 1, 1]",
        () -> InferenceModel.of(groups, 3, 1, 1));
    LazyBatchNorm1d lazy = new LazyBatchNorm1d();
    refused(
        lazy + " has seen no input yet and cannot be frozen: call forward first",
        () -> InferenceModel.of(new Sequential(new ReLU(), lazy), 3));
    Module unknown =
        new PassThrough() {
          @Override
          public Shape outputShape(Shape x) {
            return x;
          }
        };
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> InferenceModel.of(unknown, 3));
    assertTrue(e.getMessage().contains("cannot be copied"), e.getMessage());
    BatchNorm1d closed = new BatchNorm1d(3);
    closed.close();
    assertThrows(IllegalStateException.class, () -> InferenceModel.of(closed, 3));
  }

  @Test
  void refusesBadArguments() {
    InferenceModel model = InferenceModel.of(mlp(), 10);
    Tensor x = Tensor.zeros(3, 10);
    Tensor out = Tensor.zeros(3, 2);
    refused("x has shape [3, 9], expected [N, 10]", () -> model.forward(Tensor.zeros(3, 9), out));
    refused("x has shape [10], expected [N, 10]", () -> model.forward(Tensor.zeros(10), out));
    refused("out has shape [3, 10], expected [N, 2]", () -> model.forward(x, x));
    refused("out has 4 samples, but x has 3", () -> model.forward(x, Tensor.zeros(4, 2)));
    refused(
        "x must be F32, F64, BF16 or F16, but is I64: counters are no samples",
        () -> model.forward(Tensor.zeros(DType.I64, 3, 10), out));
    refused(
        "x must be contiguous and channels first, but is Tensor(F32 [3, 10], channels_first, with"
            + " gaps); call to(MemoryFormat.CHANNELS_FIRST) first",
        () -> model.forward(Tensor.zeros(3, 12).narrow(1, 1, 10), out));
    Tensor large = Tensor.zeros(100);
    Tensor first = large.view(MemoryFormat.CHANNELS_FIRST, Shape.of(3, 10));
    Tensor overlapping = large.view(MemoryFormat.CHANNELS_FIRST, Shape.of(3, 2));
    refused(
        "out shares memory with x, but is not the same tensor: give it memory of its own",
        () -> model.forward(first, overlapping));
    refused(
        "x has 25 numbers, not a multiple of the 10 of a sample",
        () -> model.forward(new float[25], new float[4]));
    refused(
        "out has 5 numbers, but the outputs of 3 samples are 6",
        () -> model.forward(new float[30], new float[5]));
    refused(
        "n must be at least 0, but got -1",
        () -> model.forward(-1, new float[30], 0, new float[5], 0));
    refused(
        "x has 30 numbers, too few for the 30 from index 1 on",
        () -> model.forward(3, new float[30], 1, new float[6], 0));
    refused(
        "out has 6 numbers, too few for the 4 from index -1 on",
        () -> model.forward(2, new float[30], 0, new float[6], -1));
    refused(
        "x has 30 numbers, too few for the 21474836470 from index 0 on",
        () -> model.forward(Integer.MAX_VALUE, new float[30], 0, new float[6], 0));
    float[] both = new float[40];
    refused(
        "out overlaps x, but is not the same part: give it an array of its own",
        () -> model.forward(3, both, 0, both, 29));
    model.forward(3, both, 0, both, 30);
    Tensor gone = Tensor.zeros(3, 10);
    gone.close();
    illegalState("x is closed", () -> model.forward(gone, out));
    model.close();
    model.close();
    illegalState("this InferenceModel is closed", () -> model.forward(x, out));
    illegalState("this InferenceModel is closed", () -> model.forward(new float[10], new float[2]));
  }

  // --------------------------------------------------------------------------------------- threads

  @Test
  void otherNormsComputeOnTheCallingThreadAlone() {
    LayerNorm norm = new LayerNorm(3);
    new ModuleStep(norm, Shape.of(1, 3));
    if (norm.copy().backend() instanceof NativeBackend b) {
      assertEquals(1, b.threads());
    } else {
      assertSame(Backends.javaBackend(), norm.backend());
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("networks")
  void manyThreadsAtOnce(String name, Supplier<Module> make, long[] sample) throws Exception {
    int size = (int) Shape.of(sample).size();
    int rounds = size > 1000 ? 3 : 100;
    try (Module net = make.get();
        InferenceModel model = InferenceModel.of(net, sample)) {
      int out = (int) model.outputShape().size();
      List<Callable<Void>> callers = new ArrayList<>();
      for (int i = 0; i < 16; i++) {
        int n = 1 + i % 5;
        float[] x = PyTorch.random(i, n, size).toFloatArray();
        float[] expected = model.forward(x, new float[n * out]);
        callers.add(
            () -> {
              float[] y = new float[n * out];
              for (int round = 0; round < rounds; round++) {
                Arrays.fill(y, Float.NaN);
                assertArrayEquals(expected, model.forward(x, y));
              }
              return null;
            });
      }
      all(callers);
    }
  }

  /** Whoever is at work when the model is closed gets a right answer or an exception. */
  @Test
  void closingWhileOthersCompute() throws Exception {
    for (int round = 0; round < 20; round++) {
      InferenceModel model = InferenceModel.of(cnn(), 2, 11, 12);
      float[] x = PyTorch.random(1, 6, 2, 11, 12).toFloatArray();
      float[] expected = model.forward(x, new float[42]);
      CountDownLatch running = new CountDownLatch(4);
      List<Callable<Void>> callers = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        callers.add(
            () -> {
              running.countDown();
              float[] y = new float[42];
              while (true) {
                try {
                  model.forward(x, y);
                } catch (IllegalStateException e) {
                  assertTrue(e.getMessage().endsWith("closed"), e.getMessage());
                  return null;
                }
                assertArrayEquals(expected, y);
              }
            });
      }
      callers.add(
          () -> {
            running.await();
            model.close();
            return null;
          });
      all(callers);
    }
  }

  private static void all(List<Callable<Void>> callers) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(callers.size());
    try {
      for (Future<Void> f : pool.invokeAll(callers)) {
        f.get();
      }
    } finally {
      pool.shutdownNow();
    }
  }

  /** In several threads at once, for batches of several sizes, by both ways in. */
  @Test
  void steadyStateAllocatesNothing() throws Exception {
    var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    Map<Module, long[]> networks =
        Map.of(
            mlp(), new long[] {10},
            cnn(), new long[] {2, 11, 12},
            resnet(), new long[] {3, 6, 8},
            trained(new BatchNorm1d(100)), new long[] {100});
    for (Map.Entry<Module, long[]> entry : networks.entrySet()) {
      Module net = entry.getKey();
      long[] shape = entry.getValue();
      try (InferenceModel model = InferenceModel.of(net, shape)) {
        int in = (int) model.inputShape().size();
        int out = (int) model.outputShape().size();
        Callable<Void> caller =
            () -> {
              float[] x = new float[70 * in];
              float[] y = new float[70 * out];
              Tensor tx = Tensor.zeros(batch(5, shape));
              Tensor ty = Tensor.zeros(model.outputShape().with(0, 5).toArray());
              Runnable calls =
                  () -> {
                    model.forward(1, x, 0, y, 0);
                    model.forward(70, x, 0, y, 0);
                    model.forward(tx, ty);
                  };
              // A compilation in between may take a few objects that the compiled code does not.
              long least = Long.MAX_VALUE;
              for (int round = 0; round < 20 && least > 0; round++) {
                long before = threads.getCurrentThreadAllocatedBytes();
                for (int i = 0; i < 50; i++) {
                  calls.run();
                }
                long bytes = threads.getCurrentThreadAllocatedBytes() - before;
                least = Math.min(least, bytes);
              }
              assertEquals(0, least, "bytes in 150 calls of " + net);
              return null;
            };
        all(List.of(caller, caller, caller));
      }
    }
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static void illegalState(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalStateException.class, call).getMessage());
  }
}
