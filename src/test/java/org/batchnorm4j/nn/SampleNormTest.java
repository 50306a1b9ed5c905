package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.function.Supplier;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** InstanceNorm, GroupNorm and LayerNorm against PyTorch, differences, and each other. */
class SampleNormTest {
  private static final String BACKENDS = "org.batchnorm4j.TestBackends#all";

  /** What PyTorch computes: (input, weight, bias) to output. */
  private interface Reference {
    org.bytedeco.pytorch.Tensor of(
        org.bytedeco.pytorch.Tensor x, TensorOptional weight, TensorOptional bias);
  }

  /** A module for a dtype, the same in PyTorch, and shapes it takes. */
  private record Case(
      String name, Function<DType, SampleNorm> module, Reference reference, List<long[]> shapes) {}

  private static List<Case> cases(double eps) {
    List<Case> cases = new ArrayList<>();
    for (boolean affine : new boolean[] {true, false}) {
      String with = affine ? ", affine" : "";
      Reference instance = instanceNorm(eps);
      cases.add(
          new Case(
              "InstanceNorm1d" + with,
              dtype -> InstanceNorm1d.builder(6).eps(eps).affine(affine).dtype(dtype).build(),
              instance,
              List.of(new long[] {4, 6, 300}, new long[] {1, 6, 2})));
      cases.add(
          new Case(
              "InstanceNorm2d" + with,
              dtype -> InstanceNorm2d.builder(6).eps(eps).affine(affine).dtype(dtype).build(),
              instance,
              List.of(new long[] {3, 6, 5, 7}, new long[] {2, 6, 1, 3})));
      cases.add(
          new Case(
              "InstanceNorm3d" + with,
              dtype -> InstanceNorm3d.builder(6).eps(eps).affine(affine).dtype(dtype).build(),
              instance,
              List.of(new long[] {2, 6, 3, 2, 4})));
      for (int groups : new int[] {1, 2, 3, 6}) {
        cases.add(
            new Case(
                "GroupNorm(" + groups + ")" + with,
                dtype -> new GroupNorm(groups, 6, eps, affine, dtype),
                (x, w, b) -> torch.group_norm(x, groups, w, b, eps, false),
                groups == 6
                    ? List.of(new long[] {3, 6, 5, 7}, new long[] {1, 6, 300})
                    : List.of(
                        new long[] {3, 6, 5, 7},
                        new long[] {2, 6},
                        new long[] {2, 6, 1},
                        new long[] {2, 6, 3, 2, 4})));
      }
      for (boolean bias : new boolean[] {true, false}) {
        cases.add(
            new Case(
                "LayerNorm(6)" + with,
                dtype -> new LayerNorm(Shape.of(6), eps, affine, bias, dtype),
                (x, w, b) -> torch.layer_norm(x, new long[] {6}, w, b, eps, false),
                List.of(
                    new long[] {6},
                    new long[] {40, 6},
                    new long[] {3, 5, 6},
                    new long[] {2, 3, 4, 6})));
        cases.add(
            new Case(
                "LayerNorm(4, 5, 7)" + with,
                dtype -> new LayerNorm(Shape.of(4, 5, 7), eps, affine, bias, dtype),
                (x, w, b) -> torch.layer_norm(x, new long[] {4, 5, 7}, w, b, eps, false),
                List.of(new long[] {3, 4, 5, 7}, new long[] {2, 3, 4, 5, 7})));
      }
    }
    return cases;
  }

  /** Parameters that are not 1 and 0. */
  private static <M extends Module> M withRandomParameters(M module) {
    long seed = 100;
    for (Parameter p : module.parameters()) {
      Tensor t = p.value();
      t.copyFrom(
          PyTorch.random(seed++, DType.F64, MemoryFormat.CHANNELS_FIRST, t.shape().toArray()));
    }
    return module;
  }

  private static double tolerance(DType dtype) {
    return switch (dtype) {
      case F64 -> 1e-12;
      case F32 -> 3e-6;
      // One unit in the last place: group norm and layer norm round twice.
      case BF16 -> 0x1p-7;
      default -> 0x1p-10;
    };
  }

  @Test
  void agreeWithPyTorch() {
    for (Case c : cases(1e-3)) {
      for (DType dtype : new DType[] {DType.F32, DType.F64, DType.BF16, DType.F16}) {
        for (long[] shape : c.shapes) {
          agreesWithPyTorch(
              c, dtype, shape, MemoryFormat.CHANNELS_FIRST, MemoryFormat.CHANNELS_FIRST);
        }
      }
    }
  }

  /** Random shapes, groups and layouts, on what runs by default. */
  @Test
  void randomOnesAgreeWithPyTorch() {
    MemoryFormat[] formats = MemoryFormat.values();
    for (int number = 0; number < 500; number++) {
      SplittableRandom random = new SplittableRandom(number);
      final DType dtype = List.of(DType.F32, DType.F64, DType.BF16, DType.F16).get(number / 5 % 4);
      long[] shape = new long[number % 5 < 3 ? 3 + number % 5 : random.nextInt(3, 6)];
      for (int i = 0; i < shape.length; i++) {
        shape[i] = random.nextInt(1, i < 2 ? 9 : 8);
      }
      // One value has no variance.
      shape[shape.length - 1]++;
      int c = (int) shape[1];
      double eps = random.nextBoolean() ? 1e-3 : 0.3;
      boolean affine = random.nextBoolean();
      agreesWithPyTorch(
          random(number % 5, c, shape, eps, affine, random),
          dtype,
          shape,
          formats[random.nextInt(2)],
          formats[random.nextInt(2)]);
    }
  }

  private static Case random(
      int kind, int c, long[] shape, double eps, boolean affine, SplittableRandom random) {
    if (kind < 3) {
      Function<DType, SampleNorm> module =
          dtype ->
              (switch (kind) {
                    case 0 -> InstanceNorm1d.builder(c);
                    case 1 -> InstanceNorm2d.builder(c);
                    default -> InstanceNorm3d.builder(c);
                  })
                  .eps(eps)
                  .affine(affine)
                  .dtype(dtype)
                  .build();
      return new Case("random InstanceNorm", module, instanceNorm(eps), List.of());
    }
    if (kind == 3) {
      int groups = random.nextInt(1, c + 1);
      while (c % groups != 0) {
        groups--;
      }
      int g = groups;
      return new Case(
          "random GroupNorm(" + g + ")",
          dtype -> new GroupNorm(g, c, eps, affine, dtype),
          (x, w, b) -> torch.group_norm(x, g, w, b, eps, false),
          List.of());
    }
    long[] last = Arrays.copyOfRange(shape, random.nextInt(1, shape.length), shape.length);
    return new Case(
        "random LayerNorm" + Shape.of(last),
        dtype -> new LayerNorm(Shape.of(last), eps, affine, true, dtype),
        (x, w, b) -> torch.layer_norm(x, last, w, b, eps, false),
        List.of());
  }

  private static Reference instanceNorm(double eps) {
    return (x, w, b) ->
        torch.instance_norm(
            x, w, b, new TensorOptional(), new TensorOptional(), true, 0.1, eps, false);
  }

  private static void agreesWithPyTorch(
      Case c, DType dtype, long[] shape, MemoryFormat format, MemoryFormat dyFormat) {
    String what = c.name + " " + dtype + " " + Shape.of(shape) + " " + format + " " + dyFormat;
    Tensor x = PyTorch.random(1, dtype, format, shape);
    Tensor dy = PyTorch.random(2, dtype, dyFormat, shape);
    try (SampleNorm module = withRandomParameters(c.module.apply(dtype.parameterType()))) {
      org.bytedeco.pytorch.Tensor input = PyTorch.leaf(x);
      Parameter weight = module.weight();
      Parameter bias = module.bias();
      org.bytedeco.pytorch.Tensor w = weight == null ? null : PyTorch.leaf(weight.value());
      org.bytedeco.pytorch.Tensor b = bias == null ? null : PyTorch.leaf(bias.value());
      org.bytedeco.pytorch.Tensor output =
          c.reference.of(input, PyTorch.optional(w), PyTorch.optional(b));
      PyTorch.backward(output, dy);

      Tensor y = module.forward(x);
      assertEquals(dtype, y.dtype());
      assertEquals(format, y.format());
      PyTorch.assertClose(what + " y", output, y, tolerance(dtype));
      Tensor dx = module.backward(dy);
      double scale = dtype == DType.F64 ? 1e-11 : 4 * tolerance(dtype);
      PyTorch.assertClose(what + " dx", PyTorch.grad(input), dx, scale);
      if (weight != null) {
        // Times normalized values, of up to 4.
        assertGradient(what + " dweight", PyTorch.grad(w), weight, dy, 4 * tolerance(dtype));
      }
      if (bias != null) {
        assertGradient(
            what + " dbias", PyTorch.grad(b), bias, dy, tolerance(dtype.parameterType()));
      }
      // Training and evaluation are the same.
      double[] trained = y.toDoubleArray();
      double[] gradient = dx.toDoubleArray();
      module.eval();
      assertArrayEquals(trained, module.forward(x).toDoubleArray(), what);
      assertArrayEquals(gradient, module.backward(dy).toDoubleArray(), what);
    }
  }

  /** On the scale of what is summed up: the sum itself may be next to nothing. */
  private static void assertGradient(
      String what,
      org.bytedeco.pytorch.Tensor expected,
      Parameter parameter,
      Tensor dy,
      double tolerance) {
    double summed = Arrays.stream(dy.toDoubleArray()).map(Math::abs).sum();
    assertArrayEquals(
        PyTorch.values(expected),
        parameter.grad().toDoubleArray(),
        tolerance * summed / parameter.grad().size(),
        what);
  }

  /** Bits: whatever the format, in slices with gaps, and on any backend. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void sameBitsEverywhere(BatchNormBackend backend) {
    BatchNormBackend java = Backends.javaBackend();
    for (Case c : cases(1e-3)) {
      for (DType dtype : new DType[] {DType.F32, DType.BF16, DType.F64}) {
        for (long[] shape : c.shapes) {
          if (shape.length < 3) {
            continue;
          }
          Tensor x = PyTorch.random(1, dtype, MemoryFormat.CHANNELS_FIRST, shape);
          Tensor dy = PyTorch.random(2, dtype, MemoryFormat.CHANNELS_FIRST, shape);
          List<double[]> expected = run(c, java, x, dy);
          assertSameBits(c, expected, run(c, backend, x, dy));
          // The formats of data and gradient in every combination.
          Tensor dyLast = dy.to(MemoryFormat.CHANNELS_LAST);
          Tensor last = x.to(MemoryFormat.CHANNELS_LAST);
          assertSameBits(c, expected, run(c, backend, x, dyLast));
          assertSameBits(c, expected, run(c, backend, last, dy));
          assertSameBits(c, expected, run(c, backend, last, dyLast));
          long[] wide = shape.clone();
          wide[1] += 3;
          for (MemoryFormat format : MemoryFormat.values()) {
            Tensor slice =
                Tensor.zeros(dtype, format, Shape.of(wide)).narrow(1, 2, shape[1]).copyFrom(x);
            assertSameBits(c, expected, run(c, backend, slice, dy));
          }
        }
      }
    }
  }

  private static List<double[]> run(Case c, BatchNormBackend backend, Tensor x, Tensor dy) {
    try (SampleNorm module = withRandomParameters(c.module.apply(x.dtype().parameterType()))) {
      module.backend(backend);
      List<double[]> results = new ArrayList<>();
      Tensor y = module.forward(x);
      assertEquals(x.format(), y.format());
      results.add(y.toDoubleArray());
      Tensor dx = module.backward(dy);
      assertEquals(x.format(), dx.format());
      results.add(dx.toDoubleArray());
      module.parameters().forEach(p -> results.add(p.grad().toDoubleArray()));
      return results;
    }
  }

  private static void assertSameBits(Case c, List<double[]> expected, List<double[]> actual) {
    assertEquals(expected.size(), actual.size());
    for (int i = 0; i < expected.size(); i++) {
      assertArrayEquals(expected.get(i), actual.get(i), c.name + ", result " + i);
    }
  }

  @Test
  void gradientsAgreeWithFiniteDifferences() {
    for (Case c : cases(1e-2)) {
      long[] shape = c.shapes.get(0);
      try (SampleNorm module = withRandomParameters(c.module.apply(DType.F64))) {
        Tensor x = PyTorch.random(3, DType.F64, MemoryFormat.CHANNELS_FIRST, shape);
        GradientCheck.check(module, x, 1e-5, 1e-6);
      }
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void specialCasesOfEachOther(BatchNormBackend backend) {
    Tensor x = PyTorch.random(1, 3, 4, 5, 6);
    Tensor instance = new InstanceNorm2d(4).backend(backend).forward(x);
    Tensor grouped = new GroupNorm(4, 4, 1e-5, false, DType.F32).backend(backend).forward(x);
    assertArrayEquals(instance.toFloatArray(), grouped.toFloatArray());
    Tensor oneGroup = new GroupNorm(1, 4).backend(backend).forward(x);
    Tensor layer = new LayerNorm(4, 5, 6).backend(backend).forward(x);
    assertArrayEquals(layer.toFloatArray(), oneGroup.toFloatArray());
    // One sample: instance norm is batch norm.
    Tensor one = x.narrow(0, 1, 1);
    InstanceNorm2d affine = withRandomParameters(InstanceNorm2d.builder(4).affine(true).build());
    BatchNorm2d bn = withRandomParameters(new BatchNorm2d(4));
    assertArrayEquals(
        bn.backend(backend).forward(one).toFloatArray(),
        affine.backend(backend).forward(one).toFloatArray());
    Tensor dy = PyTorch.random(2, 1, 4, 5, 6);
    assertArrayEquals(bn.backward(dy).toFloatArray(), affine.backward(dy).toFloatArray());
    assertArrayEquals(bn.weight().grad().toFloatArray(), affine.weight().grad().toFloatArray());
  }

  // ------------------------------------------------------------------------------- instance norm

  @Test
  void runningStatisticsOfInstanceNormAgreeWithPyTorch() {
    for (DType type : new DType[] {DType.F32, DType.F64}) {
      for (MemoryFormat format : MemoryFormat.values()) {
        InstanceNorm2d module =
            withRandomParameters(
                InstanceNorm2d.builder(3)
                    .affine(true)
                    .trackRunningStats(true)
                    .momentum(0.3)
                    .dtype(type)
                    .build());
        org.bytedeco.pytorch.Tensor w = PyTorch.leaf(module.weight().value());
        org.bytedeco.pytorch.Tensor b = PyTorch.leaf(module.bias().value());
        org.bytedeco.pytorch.Tensor mean = PyTorch.leaf(module.runningMean()).detach();
        org.bytedeco.pytorch.Tensor var = PyTorch.leaf(module.runningVar()).detach();
        double tolerance = tolerance(type);
        for (int step = 0; step < 4; step++) {
          boolean training = step != 2;
          module.train(training);
          Tensor x = PyTorch.random(step, type, format, 4, 3, 5, 2);
          Tensor dy = PyTorch.random(step + 10, type, format, 4, 3, 5, 2);
          org.bytedeco.pytorch.Tensor input = PyTorch.leaf(x);
          org.bytedeco.pytorch.Tensor output =
              torch.instance_norm(
                  input,
                  PyTorch.optional(w),
                  PyTorch.optional(b),
                  PyTorch.optional(mean),
                  PyTorch.optional(var),
                  training,
                  0.3,
                  1e-5,
                  false);
          w.mutable_grad().reset();
          b.mutable_grad().reset();
          PyTorch.backward(output, dy);
          PyTorch.assertClose("y", output, module.forward(x), tolerance);
          PyTorch.assertClose("dx", PyTorch.grad(input), module.backward(dy), 4 * tolerance);
          PyTorch.assertClose("dweight", PyTorch.grad(w), module.weight().grad(), 4 * tolerance);
          PyTorch.assertClose("dbias", PyTorch.grad(b), module.bias().grad(), tolerance);
          PyTorch.assertClose("running_mean", mean, module.runningMean(), tolerance);
          PyTorch.assertClose("running_var", var, module.runningVar(), tolerance);
        }
        // As in PyTorch nobody counts.
        assertEquals(0, module.stateDict().get("num_batches_tracked").getLong());
      }
    }
  }

  @Test
  void aModeChangeBetweenForwardAndBackwardDoesNotMatter() {
    InstanceNorm1d module = InstanceNorm1d.builder(2).trackRunningStats(true).build();
    Tensor x = PyTorch.random(1, 3, 2, 5);
    Tensor dy = PyTorch.random(2, 3, 2, 5);
    module.forward(x);
    float[] trained = module.backward(dy).toFloatArray();
    module.eval();
    assertArrayEquals(trained, module.backward(dy).toFloatArray());
    module.forward(x);
    float[] evaluated = module.backward(dy).toFloatArray();
    module.train();
    assertArrayEquals(evaluated, module.backward(dy).toFloatArray());
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aSampleWithoutItsDimensionN(boolean training) {
    Supplier<InstanceNorm2d> module =
        () ->
            withRandomParameters(
                InstanceNorm2d.builder(3).affine(true).trackRunningStats(true).build());
    InstanceNorm2d batched = module.get();
    InstanceNorm2d single = module.get();
    Tensor x = PyTorch.random(1, 3, 4, 5);
    Tensor dy = PyTorch.random(2, 3, 4, 5);
    batched.train(training);
    single.train(training);
    Tensor y = single.forward(x);
    assertEquals(x.shape(), y.shape());
    assertArrayEquals(batched.forward(x.reshape(1, 3, 4, 5)).toFloatArray(), y.toFloatArray());
    Tensor dx = single.backward(dy);
    assertEquals(x.shape(), dx.shape());
    assertArrayEquals(batched.backward(dy.reshape(1, 3, 4, 5)).toFloatArray(), dx.toFloatArray());
    assertArrayEquals(
        batched.weight().grad().toFloatArray(), single.weight().grad().toFloatArray());
    assertArrayEquals(batched.runningVar().toFloatArray(), single.runningVar().toFloatArray());
    // Such a gradient is not one of a batch of one.
    refused("dy has shape [3, 4, 5], expected that of x, [1, 3, 4, 5]", () -> batched.backward(dy));
    refused(
        "dy has shape [1, 3, 4, 5], expected that of x, [3, 4, 5]",
        () -> single.backward(dy.reshape(1, 3, 4, 5)));
    refused(
        "x is one sample without dimension N, and must then be contiguous and channels first; call"
            + " to(MemoryFormat.CHANNELS_FIRST) first",
        () -> single.forward(x.to(MemoryFormat.CHANNELS_LAST)));
    // (C, L).
    Tensor line = PyTorch.random(3, 3, 9);
    assertArrayEquals(
        new InstanceNorm1d(3).forward(line.reshape(1, 3, 9)).toFloatArray(),
        new InstanceNorm1d(3).forward(line).toFloatArray());
  }

  // ---------------------------------------------------------------------------- state and options

  @Test
  void defaultsArePyTorchs() {
    InstanceNorm3d instance = new InstanceNorm3d(5);
    assertEquals(5, instance.numFeatures());
    assertEquals(1e-5, instance.eps());
    assertEquals(0.1, instance.momentum());
    assertNull(instance.weight());
    assertNull(instance.runningMean());
    assertEquals(Map.of(), instance.stateDict());
    InstanceNorm1d full = InstanceNorm1d.builder(2).affine(true).trackRunningStats(true).build();
    assertEquals(
        List.of("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
        List.copyOf(full.stateDict().keySet()));
    assertArrayEquals(new float[] {1, 1}, full.runningVar().toFloatArray());

    GroupNorm group = new GroupNorm(3, 6);
    assertEquals(3, group.numGroups());
    assertEquals(6, group.numChannels());
    assertEquals(1e-5, group.eps());
    assertEquals(List.of("weight", "bias"), List.copyOf(group.stateDict().keySet()));
    assertArrayEquals(new float[] {1, 1, 1, 1, 1, 1}, group.weight().value().toFloatArray());
    assertArrayEquals(new float[6], group.bias().value().toFloatArray());

    LayerNorm layer = new LayerNorm(2, 3);
    assertEquals(Shape.of(2, 3), layer.normalizedShape());
    assertEquals(Shape.of(2, 3), layer.weight().value().shape());
    assertEquals(Shape.of(2, 3), layer.bias().value().shape());
    LayerNorm unbiased = new LayerNorm(Shape.of(2), 1e-5, true, false, DType.F64);
    assertEquals(List.of("weight"), List.copyOf(unbiased.stateDict().keySet()));
    assertEquals(DType.F64, unbiased.weight().value().dtype());
  }

  @Test
  void printAsInPyTorch() {
    assertEquals(
        "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)",
        new InstanceNorm2d(3).toString());
    assertEquals(
        "InstanceNorm1d(3, eps=0.001, momentum=0.5, affine=True, track_running_stats=True)",
        InstanceNorm1d.builder(3)
            .eps(1e-3)
            .momentum(0.5)
            .affine(true)
            .trackRunningStats(true)
            .build()
            .toString());
    assertEquals("GroupNorm(3, 6, eps=1e-05, affine=True)", new GroupNorm(3, 6).toString());
    assertEquals(
        "LayerNorm((10,), eps=1e-05, elementwise_affine=True)", new LayerNorm(10).toString());
    assertEquals(
        "LayerNorm((5, 10, 10), eps=0.1, elementwise_affine=False)",
        new LayerNorm(Shape.of(5, 10, 10), 0.1, false, true, DType.F32).toString());
  }

  @Test
  void saysWhatShapeComesOut() {
    assertEquals(Shape.of(2, 3, 4, 5), new InstanceNorm2d(3).outputShape(Shape.of(2, 3, 4, 5)));
    assertEquals(Shape.of(3, 4, 5), new InstanceNorm2d(3).outputShape(Shape.of(3, 4, 5)));
    assertEquals(Shape.of(2, 6), new GroupNorm(3, 6).outputShape(Shape.of(2, 6)));
    assertEquals(Shape.of(9, 2, 6), new LayerNorm(2, 6).outputShape(Shape.of(9, 2, 6)));
    refused(
        "Given normalized_shape=[2, 6], expected input with shape [*, 2, 6], but got input of"
            + " size[3, 6]",
        () -> new LayerNorm(2, 6).outputShape(Shape.of(3, 6)));
  }

  @Test
  void copiesAreEqualAndApart() {
    Tensor x = PyTorch.random(1, 2, 6, 4);
    for (SampleNorm module :
        List.of(
            InstanceNorm1d.builder(6).eps(0.1).affine(true).build(),
            InstanceNorm1d.builder(6).momentum(0.5).trackRunningStats(true).build(),
            new GroupNorm(3, 6, 0.1, true, DType.F32),
            new GroupNorm(2, 6, 0.1, false, DType.F32),
            new LayerNorm(Shape.of(6, 4), 0.1, true, false, DType.F32))) {
      withRandomParameters(module).forward(x);
      module.eval();
      SampleNorm copy = module.copy();
      assertEquals(module.toString(), copy.toString());
      assertEquals(module.stateDict().keySet(), copy.stateDict().keySet());
      float[] y = module.forward(x).toFloatArray();
      assertArrayEquals(y, copy.forward(x).toFloatArray());
      copy.close();
      assertArrayEquals(y, module.forward(x).toFloatArray());
    }
  }

  @Test
  void resetGoesBackToTheBeginning() {
    InstanceNorm1d module =
        withRandomParameters(
            InstanceNorm1d.builder(2).affine(true).trackRunningStats(true).build());
    module.forward(PyTorch.random(1, 2, 2, 3));
    module.resetParameters();
    assertArrayEquals(new float[] {1, 1}, module.weight().value().toFloatArray());
    assertArrayEquals(new float[2], module.bias().value().toFloatArray());
    assertArrayEquals(new float[2], module.runningMean().toFloatArray());
    assertArrayEquals(new float[] {1, 1}, module.runningVar().toFloatArray());
    GroupNorm group = withRandomParameters(new GroupNorm(1, 2));
    group.resetParameters();
    assertArrayEquals(new float[] {1, 1}, group.weight().value().toFloatArray());
    assertArrayEquals(new float[2], group.bias().value().toFloatArray());
  }

  @Test
  void badOptionsAreRefused() {
    refused("numFeatures must be at least 1, but got 0", () -> new InstanceNorm1d(0));
    refused(
        "momentum must be a number, but is null: an instance norm has no average of all batches",
        () -> InstanceNorm1d.builder(2).momentum(null).build());
    refused(
        "eps must be > 0 where no running statistics are tracked, but got 0.0",
        () -> InstanceNorm1d.builder(2).eps(0).build());
    refused(
        "num_channels must be divisible by num_groups, but got num_channels = 6, num_groups = 4",
        () -> new GroupNorm(4, 6));
    refused("numGroups must be at least 1, but got 0", () -> new GroupNorm(0, 6));
    refused("numChannels must be at least 1, but got 0", () -> new GroupNorm(1, 0));
    refused("eps must be > 0, but got 0.0", () -> new GroupNorm(1, 1, 0, true, DType.F32));
    refused(
        "eps must be > 0, but got NaN",
        () -> new LayerNorm(Shape.of(1), Double.NaN, true, true, DType.F32));
    refused(
        "dtype must be F32 or F64 (BF16 and F16 input goes with F32 parameters), but got F16",
        () -> new GroupNorm(1, 1, 1, true, DType.F16));
    refused(
        "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
            + " element, but got normalized_shape = []",
        LayerNorm::new);
    refused("normalizedShape[1] must be at least 1, but got 0", () -> new LayerNorm(3, 0));
  }

  // --------------------------------------------------------------------------------------- errors

  private static Map<String, double[]> everything(SampleNorm module, Tensor y) {
    Map<String, double[]> all = new LinkedHashMap<>();
    module.stateDict().forEach((name, t) -> all.put(name, t.toDoubleArray()));
    module
        .namedParameters()
        .forEach((name, p) -> all.put(name + ".grad", p.grad().toDoubleArray()));
    all.put("y", y.toDoubleArray());
    return all;
  }

  /** Runs calls that must fail in a module that has been used, and checks that nothing changed. */
  private static void failing(SampleNorm module, Tensor x, Map<String, Executable> callsByMessage) {
    Tensor dy = PyTorch.random(2, x.shape().toArray());
    Tensor y = module.forward(x);
    double[] dx = module.backward(dy).toDoubleArray();
    Map<String, double[]> before = everything(module, y);
    callsByMessage.forEach(SampleNormTest::refused);
    Tensor closed = Tensor.zerosLike(x);
    closed.close();
    String message = " is closed; its memory has been given back";
    assertEquals(
        "x" + message,
        assertThrows(IllegalStateException.class, () -> module.forward(closed)).getMessage());
    assertEquals(
        "dy" + message,
        assertThrows(IllegalStateException.class, () -> module.backward(closed)).getMessage());
    refused(
        "dy is F64, expected the type of x, F32",
        () -> module.backward(Tensor.zeros(DType.F64, x.shape().toArray())));
    String own =
        "x is this "
            + module.getClass().getSimpleName()
            + "'s own output or gradient, which the call would overwrite; copy it first";
    refused(own, () -> module.forward(y));
    Map<String, double[]> after = everything(module, y);
    before.forEach((name, values) -> assertArrayEquals(values, after.get(name), name));
    // Nor has the forward been forgotten that backward differentiates.
    assertArrayEquals(dx, module.backward(dy).toDoubleArray());

    module.close();
    module.close();
    assertEquals(
        "this " + module.getClass().getSimpleName() + " is closed",
        assertThrows(IllegalStateException.class, () -> module.forward(x)).getMessage());
    assertEquals(
        "backward(dy) needs a forward before it: call forward(x)",
        assertThrows(IllegalStateException.class, () -> module.backward(dy)).getMessage());
  }

  @Test
  void instanceNormThatThrowsHasChangedNothing() {
    InstanceNorm2d module = InstanceNorm2d.builder(3).affine(true).trackRunningStats(true).build();
    failing(
        module,
        PyTorch.random(1, 2, 3, 4, 4),
        Map.of(
            "expected 3D or 4D input (got 5D input): x has shape [9, 3, 9, 9, 9]",
            () -> module.forward(Tensor.zeros(9, 3, 9, 9, 9)),
            "expected 3D or 4D input (got 2D input): x has shape [3, 9]",
            () -> module.forward(Tensor.zeros(3, 9)),
            "x has 4 channels, this InstanceNorm2d was built for 3",
            () -> module.forward(Tensor.zeros(9, 4, 9, 9)),
            "x has 5 channels, this InstanceNorm2d was built for 3",
            () -> module.forward(Tensor.zeros(5, 9, 9)),
            "Expected more than 1 spatial element when training, got input size torch.Size([9, 3,"
                + " 1, 1])",
            () -> module.forward(Tensor.zeros(9, 3, 1, 1)),
            "mixed dtype (CPU): all inputs must share same datatype. x is F64, which needs"
                + " running_mean in F64, but it is F32: convert x or running_mean with to(DType)",
            () -> module.forward(Tensor.zeros(DType.F64, 9, 3, 9, 9)),
            "\"batch_norm\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is I64",
            () -> module.forward(Tensor.zeros(DType.I64, 9, 3, 9, 9)),
            "dy has shape [9, 3, 9, 9], expected that of x, [2, 3, 4, 4]",
            () -> module.backward(Tensor.zeros(9, 3, 9, 9))));
  }

  /** As in PyTorch: there is nothing whose type the input could miss. */
  @Test
  void withoutParametersAnyTypeIsTaken() {
    for (DType dtype : new DType[] {DType.F64, DType.F32, DType.BF16, DType.F64}) {
      Tensor x = PyTorch.random(1, 2, 6, 5).to(dtype);
      Tensor dy = PyTorch.random(2, 2, 6, 5).to(dtype);
      List<SampleNorm> modules =
          List.of(
              InstanceNorm1d.builder(6).dtype(DType.F32).build(),
              new GroupNorm(3, 6, 1e-5, false, DType.F32),
              new LayerNorm(Shape.of(5), 1e-5, false, false, DType.F32));
      List<SampleNorm> ofType =
          List.of(
              InstanceNorm1d.builder(6).dtype(dtype.parameterType()).build(),
              new GroupNorm(3, 6, 1e-5, false, dtype.parameterType()),
              new LayerNorm(Shape.of(5), 1e-5, false, false, dtype.parameterType()));
      for (int i = 0; i < modules.size(); i++) {
        // Once in another type, so that what is kept of that is of no use.
        modules.get(i).forward(PyTorch.random(3, 2, 6, 5));
        assertArrayEquals(
            ofType.get(i).forward(x).toDoubleArray(), modules.get(i).forward(x).toDoubleArray());
        assertArrayEquals(
            ofType.get(i).backward(dy).toDoubleArray(),
            modules.get(i).backward(dy).toDoubleArray());
      }
    }
  }

  @Test
  void groupNormThatThrowsHasChangedNothing() {
    GroupNorm module = withRandomParameters(new GroupNorm(3, 6));
    failing(
        module,
        PyTorch.random(1, 2, 6, 4),
        Map.of(
            "Expected at least 2 dimensions for input tensor but received 1: x has shape [6]",
            () -> module.forward(Tensor.zeros(6)),
            "x has 5 channels, this GroupNorm was built for 6",
            () -> module.forward(Tensor.zeros(9, 5, 9)),
            "mixed dtype (CPU): all inputs must share same datatype. x is F64, which needs weight"
                + " in F64, but it is F32: convert x or weight with to(DType)",
            () -> module.forward(Tensor.zeros(DType.F64, 9, 6, 9)),
            "\"group_norm\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is I64",
            () -> module.forward(Tensor.zeros(DType.I64, 9, 6, 9)),
            "dy has shape [9, 6, 9], expected that of x, [2, 6, 4]",
            () -> module.backward(Tensor.zeros(9, 6, 9))));
    GroupNorm full = new GroupNorm(6, 6);
    refused(
        "Expected more than 1 value per channel when training, got input size [1, 6, 1]",
        () -> full.forward(Tensor.zeros(1, 6, 1)));
  }

  /** Which batch norm refuses: PyTorch's group norm does only where there is but one sample. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void oneValuePerRowIsTheBias(BatchNormBackend backend) {
    for (SampleNorm module : List.of(new GroupNorm(6, 6), new LayerNorm(1))) {
      module.backend(backend);
      module.bias().value().fill(7);
      Tensor x = module instanceof GroupNorm ? PyTorch.random(1, 2, 6) : PyTorch.random(1, 2, 6, 1);
      for (float value : module.forward(x).toFloatArray()) {
        assertEquals(7, value);
      }
      for (float value : module.backward(x).toFloatArray()) {
        assertEquals(0, value);
      }
      for (float value : module.weight().grad().toFloatArray()) {
        assertEquals(0, value);
      }
    }
  }

  @Test
  void layerNormThatThrowsHasChangedNothing() {
    LayerNorm module = withRandomParameters(new LayerNorm(3, 4));
    failing(
        module,
        PyTorch.random(1, 2, 3, 4),
        Map.of(
            "Given normalized_shape=[3, 4], expected input with shape [*, 3, 4], but got input of"
                + " size[9, 4, 3]",
            () -> module.forward(Tensor.zeros(9, 4, 3)),
            "Given normalized_shape=[3, 4], expected input with shape [*, 3, 4], but got input of"
                + " size[4]",
            () -> module.forward(Tensor.zeros(4)),
            "mixed dtype (CPU): all inputs must share same datatype. x is F64, which needs weight"
                + " in F64, but it is F32: convert x or weight with to(DType)",
            () -> module.forward(Tensor.zeros(DType.F64, 9, 3, 4)),
            "\"layer_norm\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is I64",
            () -> module.forward(Tensor.zeros(DType.I64, 9, 3, 4)),
            "dy has shape [9, 3, 4], expected that of x, [2, 3, 4]",
            () -> module.backward(Tensor.zeros(9, 3, 4))));
  }

  private static void refused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  // -------------------------------------------------------------------------------- special input

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void emptyInputChangesNothing(BatchNormBackend backend) {
    InstanceNorm1d instance =
        InstanceNorm1d.builder(2).affine(true).trackRunningStats(true).build();
    List<SampleNorm> modules = List.of(instance, new GroupNorm(2, 2), new LayerNorm(2, 4));
    for (SampleNorm module : modules) {
      module.backend(backend);
      Tensor x = PyTorch.random(1, 3, 2, 4);
      module.forward(x);
      module.backward(x);
      Map<String, double[]> before = new LinkedHashMap<>();
      module.stateDict().forEach((name, t) -> before.put(name, t.toDoubleArray()));
      Tensor empty = Tensor.zeros(0, 2, 4);
      assertEquals(empty.shape(), module.forward(empty).shape());
      assertEquals(empty.shape(), module.backward(empty).shape());
      module
          .stateDict()
          .forEach((name, t) -> assertArrayEquals(before.get(name), t.toDoubleArray(), name));
      module
          .parameters()
          .forEach(
              p -> assertArrayEquals(new double[(int) p.grad().size()], p.grad().toDoubleArray()));
    }
  }

  /** A mean of 10^4 deviations costs nothing, nor do equal values. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void extremeInput(BatchNormBackend backend) {
    float[] far = new float[2 * 4 * 64];
    double[] residue = PyTorch.random(1, far.length).toDoubleArray();
    for (int i = 0; i < far.length; i++) {
      far[i] = (float) (1e4 + residue[i]);
    }
    Tensor x = Tensor.of(far, 2, 4, 64);
    for (SampleNorm module :
        List.of(new InstanceNorm1d(4), new GroupNorm(2, 4), new LayerNorm(64))) {
      module.backend(backend);
      org.bytedeco.pytorch.Tensor expected =
          module instanceof GroupNorm
              ? torch.group_norm(PyTorch.leaf(x), 2)
              : torch.layer_norm(PyTorch.leaf(x), 64);
      PyTorch.assertClose(module.toString(), expected, module.forward(x), 1e-6);
      for (float value : module.forward(Tensor.zeros(2, 4, 64).fill(0.1)).toFloatArray()) {
        assertEquals(0, value);
      }
    }
  }

  /** NaN stays in its row. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void nanStaysInItsRow(BatchNormBackend backend) {
    Tensor x = PyTorch.random(1, 2, 4, 5);
    x.set(Double.NaN, 1, 2, 3);
    Tensor y = new GroupNorm(2, 4).backend(backend).forward(x);
    for (int n = 0; n < 2; n++) {
      for (int c = 0; c < 4; c++) {
        for (int i = 0; i < 5; i++) {
          assertEquals(n == 1 && c >= 2, Double.isNaN(y.get(n, c, i)));
        }
      }
    }
    assertTrue(Double.isNaN(y.get(1, 3, 0)));
  }

  @Test
  void theOutputIsTheSameMemoryForTheSameShape() {
    for (SampleNorm module :
        List.of(new InstanceNorm1d(2), new GroupNorm(1, 2), new LayerNorm(4))) {
      Tensor x = PyTorch.random(1, 3, 2, 4);
      Tensor y = module.forward(x);
      Tensor dx = module.backward(x);
      assertSame(y, module.forward(PyTorch.random(2, 3, 2, 4)));
      assertSame(dx, module.backward(x));
    }
  }
}
