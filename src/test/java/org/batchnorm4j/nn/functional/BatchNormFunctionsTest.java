package org.batchnorm4j.nn.functional;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class BatchNormFunctionsTest {
  private static final int C = 10;

  /** Good arguments for all four functions, for a test to spoil one of. */
  private static final class Call {
    BatchNormBackend backend = Backends.best();
    Activation activation = Activation.NONE;
    Tensor x;
    @Nullable Tensor residual;
    Tensor out;
    @Nullable Tensor runningMean;
    @Nullable Tensor runningVar;
    @Nullable Tensor weight;
    @Nullable Tensor bias;
    double momentum = 0.1;
    double eps = 1e-5;
    SavedStatistics saved;
    Tensor dy;
    @Nullable Tensor y;
    @Nullable Tensor dx;
    @Nullable Tensor dresidual;
    @Nullable Tensor dweight;
    @Nullable Tensor dbias;

    Call() {
      this(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(2, C, 3), 1);
    }

    Call(DType dtype, MemoryFormat format, Shape shape, int seed) {
      Random random = new Random(seed);
      long c = shape.dim(1);
      DType parameterType = dtype.parameterType();
      x = random(Tensor.zeros(dtype, format, shape), random);
      residual = random(Tensor.zerosLike(x), random);
      dy = random(Tensor.zerosLike(x), random);
      out = Tensor.zerosLike(x).fill(7);
      dx = Tensor.zerosLike(x).fill(7);
      dresidual = Tensor.zerosLike(x).fill(7);
      runningMean = random(Tensor.zeros(parameterType, c), random);
      runningVar = random(Tensor.zeros(parameterType, c), random);
      weight = random(Tensor.zeros(parameterType, c), random);
      bias = random(Tensor.zeros(parameterType, c), random);
      dweight = Tensor.zeros(parameterType, c).fill(7);
      dbias = Tensor.zeros(parameterType, c).fill(7);
      saved = SavedStatistics.allocate(parameterType, c);
      saved.invStd().fill(1);
      for (int i = 0; i < c; i++) {
        runningVar.set(1 + Math.abs(runningVar.get(i)), i);
      }
    }

    Call inference() {
      assertSame(
          out,
          BatchNormFunctions.batchNormInference(
              x, residual, runningMean, runningVar, weight, bias, eps, activation, backend, out));
      return this;
    }

    Call training() {
      assertSame(
          out,
          BatchNormFunctions.batchNormTraining(
              x,
              residual,
              runningMean,
              runningVar,
              weight,
              bias,
              momentum,
              eps,
              activation,
              backend,
              saved,
              out));
      return this;
    }

    Call backwardTraining() {
      BatchNormFunctions.batchNormBackwardTraining(
          dy, x, y, weight, bias, saved, activation, backend, dx, dresidual, dweight, dbias);
      return this;
    }

    Call backwardInference() {
      BatchNormFunctions.batchNormBackwardInference(
          dy,
          x,
          y,
          weight,
          bias,
          runningMean,
          runningVar,
          eps,
          activation,
          backend,
          dx,
          dresidual,
          dweight,
          dbias);
      return this;
    }

    /** All that a call could write. */
    List<double[]> state() {
      List<double[]> state = new ArrayList<>();
      Tensor[] tensors = {
        x,
        residual,
        out,
        runningMean,
        runningVar,
        weight,
        bias,
        saved.mean(),
        saved.meanLow(),
        saved.invStd(),
        dy,
        y,
        dx,
        dresidual,
        dweight,
        dbias
      };
      for (Tensor t : tensors) {
        if (t != null && !t.isClosed()) {
          state.add(t.toDoubleArray());
        }
      }
      return state;
    }
  }

  private static Tensor random(Tensor t, Random random) {
    double[] values = new double[(int) t.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextGaussian() + 1;
    }
    return t.copyFrom(values);
  }

  // -------------------------------------------------------------------------------------- errors

  private enum In {
    INFERENCE(Call::inference),
    TRAINING(Call::training),
    BACKWARD_TRAINING(Call::backwardTraining),
    BACKWARD_INFERENCE(Call::backwardInference);

    final Consumer<Call> run;

    In(Consumer<Call> run) {
      this.run = run;
    }
  }

  private static final In[] FORWARD = {In.INFERENCE, In.TRAINING};
  private static final In[] BACKWARD = {In.BACKWARD_TRAINING, In.BACKWARD_INFERENCE};
  private static final In[] BOTH_INFERENCES = {In.INFERENCE, In.BACKWARD_INFERENCE};

  private record Bad(
      String message, Class<? extends Exception> type, Consumer<Call> spoil, In... in) {
    @Override
    public String toString() {
      return message;
    }
  }

  private static Bad bad(String message, Consumer<Call> spoil, In... in) {
    return new Bad(message, IllegalArgumentException.class, spoil, in);
  }

  private static Bad closed(String name, Consumer<Call> spoil, In... in) {
    return new Bad(
        name + " is closed; its memory has been given back",
        IllegalStateException.class,
        spoil,
        in);
  }

  private static Tensor[] ofSize(long c) {
    return new Tensor[] {Tensor.zeros(c), Tensor.zeros(c).fill(1)};
  }

  static List<Bad> errors() {
    Tensor[] nine = ofSize(9);
    Tensor[] eleven = ofSize(11);
    Tensor doubles = Tensor.zeros(DType.F64, C).fill(1);
    Tensor gaps = Tensor.zeros(C, 2).narrow(1, 0, 1);
    Tensor block = Tensor.zeros(2, 3 * C, 3);
    MemoryFormat last = MemoryFormat.CHANNELS_LAST;
    String mixed =
        "mixed dtype (CPU): expect parameter to have scalar type of Float. x is F32, which needs"
            + " %s in F32, but it is F64: convert x or %<s with to(DType)";
    String apart = " shares memory with %s; it must have memory of its own";
    String inPart = " in part; it must be exactly the same memory, or other memory";
    return List.of(
        // x
        bad(
            "Expected at least 2 input dimensions, but got 1: x must be (N, C, ...), but has shape"
                + " [10]",
            c -> c.x = Tensor.zeros(C),
            In.values()),
        bad(
            "Expected at least 2 input dimensions, but got 0: x must be (N, C, ...), but has shape"
                + " []",
            c -> c.x = Tensor.zeros(),
            In.values()),
        bad(
            "\"batch_norm\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is I64",
            c -> c.x = Tensor.zeros(DType.I64, 2, C, 3),
            In.values()),
        bad(
            "Expected more than 1 value per channel when training, got input size torch.Size([1,"
                + " 10, 1])",
            c -> c.x = Tensor.zeros(1, C, 1),
            In.TRAINING),
        closed("x", c -> c.x.close(), In.values()),
        // eps and momentum
        bad(
            "batch_norm eps must be non-negative, but got -1.0E-5",
            c -> c.eps = -1e-5,
            BOTH_INFERENCES),
        bad(
            "batch_norm eps must be non-negative, but got NaN",
            c -> c.eps = Double.NaN,
            BOTH_INFERENCES),
        bad(
            "batch_norm eps must be positive during training, but got 0.0",
            c -> c.eps = 0,
            In.TRAINING),
        bad(
            "batch_norm eps must be positive during training, but got NaN",
            c -> c.eps = Double.NaN,
            In.TRAINING),
        bad("momentum must be finite, but got NaN", c -> c.momentum = Double.NaN, In.TRAINING),
        bad(
            "momentum must be finite, but got -Infinity",
            c -> c.momentum = Double.NEGATIVE_INFINITY,
            In.TRAINING),
        // Running statistics
        bad(
            "running_mean must be defined in evaluation mode, but is null; batchNormTraining takes"
                + " the batch's own statistics",
            c -> c.runningMean = null,
            BOTH_INFERENCES),
        bad(
            "running_var must be defined in evaluation mode, but is null; batchNormTraining takes"
                + " the batch's own statistics",
            c -> c.runningVar = null,
            BOTH_INFERENCES),
        bad(
            "running_mean is null, but the other running statistic is not: give both, or none to"
                + " track nothing",
            c -> c.runningMean = null,
            In.TRAINING),
        bad(
            "running_var is null, but the other running statistic is not: give both, or none to"
                + " track nothing",
            c -> c.runningVar = null,
            In.TRAINING),
        // Channel counts
        bad(
            "running_mean should contain 10 elements not 9",
            c -> c.runningMean = nine[0],
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(
            "running_mean should contain 10 elements not 11",
            c -> c.runningMean = eleven[0],
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(
            "running_var should contain 10 elements not 9",
            c -> c.runningVar = nine[0],
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(
            "running_var should contain 10 elements not 11",
            c -> c.runningVar = eleven[0],
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad("weight should contain 10 elements not 9", c -> c.weight = nine[0], In.values()),
        bad("weight should contain 10 elements not 11", c -> c.weight = eleven[0], In.values()),
        bad("bias should contain 10 elements not 9", c -> c.bias = nine[0], In.values()),
        bad("bias should contain 10 elements not 11", c -> c.bias = eleven[0], In.values()),
        bad(
            "saved.mean should contain 10 elements not 9",
            c -> c.saved = SavedStatistics.allocate(DType.F32, 9),
            In.TRAINING,
            In.BACKWARD_TRAINING),
        bad("dweight should contain 10 elements not 9", c -> c.dweight = nine[0], BACKWARD),
        bad("dbias should contain 10 elements not 11", c -> c.dbias = eleven[0], BACKWARD),
        // Types of parameters
        bad(
            mixed.formatted("running_mean"),
            c -> c.runningMean = doubles,
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(
            mixed.formatted("running_var"),
            c -> c.runningVar = doubles,
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(mixed.formatted("weight"), c -> c.weight = doubles, In.values()),
        bad(mixed.formatted("bias"), c -> c.bias = doubles, In.values()),
        bad(
            mixed.formatted("saved.mean"),
            c -> c.saved = SavedStatistics.allocate(DType.F64, C),
            In.TRAINING,
            In.BACKWARD_TRAINING),
        bad(mixed.formatted("dweight"), c -> c.dweight = doubles, BACKWARD),
        bad(mixed.formatted("dbias"), c -> c.dbias = doubles, BACKWARD),
        bad(
            "mixed dtype (CPU): all inputs must share same datatype. x is F64, which needs"
                + " running_mean in F64, but it is F32: convert x or running_mean with to(DType)",
            c -> c.x = c.x.to(DType.F64),
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        bad(
            "weight must be contiguous, but is a slice with gaps: copy it with to(CHANNELS_FIRST)",
            c -> c.weight = gaps,
            In.values()),
        // Tensors like x
        bad(
            "out has shape [2, 10, 4], expected that of x, [2, 10, 3]",
            c -> c.out = Tensor.zeros(2, C, 4),
            FORWARD),
        bad(
            "out has shape [2, 30], expected that of x, [2, 10, 3]",
            c -> c.out = Tensor.zeros(2, 30),
            FORWARD),
        bad(
            "residual has shape [1, 10, 3], expected that of x, [2, 10, 3]",
            c -> c.residual = Tensor.zeros(1, C, 3),
            FORWARD),
        bad("out is F64, expected the type of x, F32", c -> c.out = c.out.to(DType.F64), FORWARD),
        bad(
            "residual is BF16, expected the type of x, F32",
            c -> c.residual = c.residual.to(DType.BF16),
            FORWARD),
        bad(
            "out is CHANNELS_LAST, but x is CHANNELS_FIRST: both must have one memory format;"
                + " convert one with to(MemoryFormat)",
            c -> c.out = c.out.to(last),
            FORWARD),
        bad(
            "residual is CHANNELS_FIRST, but x is CHANNELS_LAST: both must have one memory format;"
                + " convert one with to(MemoryFormat)",
            c -> c.x = c.x.to(last),
            FORWARD),
        bad(
            "dy has shape [2, 10, 4], expected that of x, [2, 10, 3]",
            c -> c.dy = Tensor.zeros(2, C, 4),
            BACKWARD),
        bad("dy is F64, expected the type of x, F32", c -> c.dy = c.dy.to(DType.F64), BACKWARD),
        bad(
            "dx has shape [2, 10, 4], expected that of x, [2, 10, 3]",
            c -> c.dx = Tensor.zeros(2, C, 4),
            BACKWARD),
        bad(
            "dx is CHANNELS_LAST, but x is CHANNELS_FIRST: both must have one memory format;"
                + " convert one with to(MemoryFormat)",
            c -> c.dx = c.dx.to(last),
            BACKWARD),
        bad(
            "dresidual is F16, expected the type of x, F32",
            c -> c.dresidual = c.dresidual.to(DType.F16),
            BACKWARD),
        bad(
            "y must be the forward's output, but is null: with a residual, whose gradient dresidual"
                + " is, the mask of RELU is read from it",
            c -> c.activation = Activation.RELU,
            BACKWARD),
        bad(
            "y must be null: there is no activation whose mask is read from it",
            c -> c.y = c.out,
            BACKWARD),
        // Overlap
        bad(
            "out overlaps x" + inPart,
            c -> {
              c.x = block.narrow(1, 0, C);
              c.out = block.narrow(1, 5, C);
            },
            FORWARD),
        bad(
            "out overlaps residual" + inPart,
            c -> {
              c.residual = block.narrow(1, 0, C);
              c.out = block.narrow(1, 5, C);
            },
            FORWARD),
        bad("out" + apart.formatted("weight"), c -> c.weight = first(c.out), FORWARD),
        bad("out" + apart.formatted("bias"), c -> c.bias = first(c.out), FORWARD),
        bad(
            "out" + apart.formatted("running_mean"),
            c -> c.runningMean = first(c.out),
            In.INFERENCE),
        bad("out" + apart.formatted("running_var"), c -> c.runningVar = first(c.out), In.INFERENCE),
        bad(
            "running_mean" + apart.formatted("out"),
            c -> c.runningMean = first(c.out),
            In.TRAINING),
        bad("running_var" + apart.formatted("x"), c -> c.runningVar = first(c.x), In.TRAINING),
        bad(
            "running_var" + apart.formatted("residual"),
            c -> c.runningVar = first(c.residual),
            In.TRAINING),
        bad(
            "running_var" + apart.formatted("running_mean"),
            c -> c.runningVar = c.runningMean,
            In.TRAINING),
        bad(
            "running_mean overlaps weight" + inPart,
            c -> {
              Tensor memory = Tensor.zeros(2 * C);
              c.runningMean = memory.narrow(0, 0, C);
              c.weight = memory.narrow(0, 1, C);
            },
            In.TRAINING),
        bad(
            "saved.mean" + apart.formatted("weight"),
            c -> c.saved = new SavedStatistics(c.weight, c.saved.meanLow(), c.saved.invStd()),
            In.TRAINING),
        bad(
            "saved.meanLow" + apart.formatted("running_mean"),
            c -> c.saved = new SavedStatistics(c.saved.mean(), c.runningMean, c.saved.invStd()),
            In.TRAINING),
        bad(
            "saved.invStd" + apart.formatted("saved.mean"),
            c -> c.saved = new SavedStatistics(c.saved.mean(), c.saved.meanLow(), c.saved.mean()),
            In.TRAINING),
        bad(
            "dx overlaps dy" + inPart,
            c -> {
              c.dy = block.narrow(1, 0, C);
              c.dx = block.narrow(1, 5, C);
            },
            BACKWARD),
        bad(
            "dx overlaps x" + inPart,
            c -> {
              c.x = block.narrow(1, 0, C);
              c.dx = block.narrow(1, 5, C);
            },
            BACKWARD),
        bad(
            "dresidual overlaps y" + inPart,
            c -> {
              c.activation = Activation.RELU;
              c.y = block.narrow(1, 0, C);
              c.dresidual = block.narrow(1, 5, C);
            },
            BACKWARD),
        bad("dresidual" + apart.formatted("dx"), c -> c.dresidual = c.dx, BACKWARD),
        bad("dweight" + apart.formatted("weight"), c -> c.dweight = c.weight, BACKWARD),
        bad("dbias" + apart.formatted("bias"), c -> c.dbias = c.bias, BACKWARD),
        bad("dbias" + apart.formatted("dweight"), c -> c.dbias = c.dweight, BACKWARD),
        bad("dweight" + apart.formatted("dx"), c -> c.dweight = first(c.dx), BACKWARD),
        bad("dbias" + apart.formatted("x"), c -> c.dbias = first(c.x), BACKWARD),
        bad(
            "dbias" + apart.formatted("saved.invStd"),
            c -> c.dbias = c.saved.invStd(),
            In.BACKWARD_TRAINING),
        bad(
            "dweight" + apart.formatted("running_var"),
            c -> c.dweight = c.runningVar,
            In.BACKWARD_INFERENCE),
        // Closed
        closed("residual", c -> c.residual.close(), FORWARD),
        closed("out", c -> c.out.close(), FORWARD),
        closed(
            "running_mean",
            c -> c.runningMean.close(),
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        closed(
            "running_var",
            c -> c.runningVar.close(),
            In.INFERENCE,
            In.TRAINING,
            In.BACKWARD_INFERENCE),
        closed("weight", c -> c.weight.close(), In.values()),
        closed("bias", c -> c.bias.close(), In.values()),
        closed("saved.mean", c -> c.saved.mean().close(), In.TRAINING, In.BACKWARD_TRAINING),
        closed("saved.meanLow", c -> c.saved.meanLow().close(), In.TRAINING, In.BACKWARD_TRAINING),
        closed("saved.invStd", c -> c.saved.invStd().close(), In.TRAINING, In.BACKWARD_TRAINING),
        closed("dy", c -> c.dy.close(), BACKWARD),
        closed(
            "y",
            c -> {
              c.activation = Activation.RELU;
              c.y = Tensor.zerosLike(c.x);
              c.y.close();
            },
            BACKWARD),
        closed("dx", c -> c.dx.close(), BACKWARD),
        closed("dresidual", c -> c.dresidual.close(), BACKWARD),
        closed("dweight", c -> c.dweight.close(), BACKWARD),
        closed("dbias", c -> c.dbias.close(), BACKWARD));
  }

  /** A per-channel view of the first values of {@code t}. */
  private static Tensor first(Tensor t) {
    return t.view(MemoryFormat.CHANNELS_FIRST, Shape.of(C));
  }

  @ParameterizedTest
  @MethodSource("errors")
  void everyErrorNamesTheCulpritAndWritesNothing(Bad bad) {
    for (In in : bad.in) {
      Call call = new Call();
      bad.spoil.accept(call);
      List<double[]> before = call.state();
      Exception e = assertThrows(bad.type, () -> in.run.accept(call), in.name());
      assertEquals(bad.message, e.getMessage(), in.name());
      List<double[]> after = call.state();
      for (int i = 0; i < before.size(); i++) {
        assertArrayEquals(before.get(i), after.get(i), in.name());
      }
    }
  }

  /** Of several wrong sizes PyTorch names the first: mean, variance, weight, bias. */
  @Test
  void sizesAreCheckedInPyTorchsOrder() {
    for (In in : FORWARD) {
      Call call = new Call();
      Tensor[] wrong = ofSize(9);
      call.runningMean = wrong[0];
      call.runningVar = wrong[1];
      call.weight = wrong[0];
      call.bias = wrong[0];
      for (String name : List.of("running_mean", "running_var", "weight", "bias")) {
        Exception e =
            assertThrows(IllegalArgumentException.class, () -> in.run.accept(call), in.name());
        assertEquals(name + " should contain 10 elements not 9", e.getMessage());
        switch (name) {
          case "running_mean" -> call.runningMean = Tensor.zeros(C);
          case "running_var" -> call.runningVar = Tensor.zeros(C);
          case "weight" -> call.weight = Tensor.zeros(C);
          default -> call.bias = Tensor.zeros(C);
        }
      }
      in.run.accept(call);
    }
  }

  // --------------------------------------------------------------------------------------- legal

  static List<Arguments> backendsAndTypes() {
    List<Arguments> all = new ArrayList<>();
    org.batchnorm4j.TestBackends.all()
        .forEach(
            backend -> {
              for (DType dtype : List.of(DType.F32, DType.F64, DType.BF16, DType.F16)) {
                for (MemoryFormat format : MemoryFormat.values()) {
                  all.add(Arguments.of(backend, dtype, format));
                }
              }
            });
    return all;
  }

  private static final List<Shape> SHAPES =
      List.of(Shape.of(6, 5), Shape.of(3, 4, 1, 1), Shape.of(4, 1, 9), Shape.of(3, 5, 4, 7));

  private static void assertSameBits(Tensor expected, Tensor actual, String what) {
    assertArrayEquals(expected.toDoubleArray(), actual.toDoubleArray(), what);
  }

  /** out = x or residual; dx = dy, x or y; dresidual = dy. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void inPlaceGivesTheSameBits(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    Activation leaky = Activation.leakyRelu(0.1);
    for (Shape shape : SHAPES) {
      for (boolean training : new boolean[] {false, true}) {
        Call plain = run(new Call(dtype, format, shape, 3), backend, leaky, training);
        for (boolean overResidual : new boolean[] {false, true}) {
          Call call = new Call(dtype, format, shape, 3);
          call.out = overResidual ? call.residual : call.x;
          forward(call, backend, leaky, training);
          assertSameBits(plain.out, call.out, "out");
          assertSameBits(plain.runningVar, call.runningVar, "running_var");
        }
        for (int over = 0; over < 4; over++) {
          Call call = new Call(dtype, format, shape, 3);
          forward(call, backend, leaky, training);
          call.y = call.out;
          switch (over) {
            case 0 -> call.dx = call.dy;
            case 1 -> call.dx = call.x;
            case 2 -> call.dx = call.y;
            default -> call.dresidual = call.dy;
          }
          backward(call, training);
          assertSameBits(plain.dx, call.dx, "dx");
          assertSameBits(plain.dresidual, call.dresidual, "dresidual");
          assertSameBits(plain.dweight, call.dweight, "dweight");
          assertSameBits(plain.dbias, call.dbias, "dbias");
        }
      }
    }
  }

  private static void forward(
      Call call, BatchNormBackend backend, Activation activation, boolean training) {
    call.backend = backend;
    call.activation = activation;
    if (training) {
      call.training();
    } else {
      call.inference();
    }
  }

  private static void backward(Call call, boolean training) {
    if (training) {
      call.backwardTraining();
    } else {
      call.backwardInference();
    }
  }

  private static Call run(
      Call call, BatchNormBackend backend, Activation activation, boolean training) {
    forward(call, backend, activation, training);
    call.y = activation.kind() == Activation.Kind.NONE ? null : call.out;
    backward(call, training);
    return call;
  }

  /** Slices of channels and of samples, on inputs and outputs, of pitches all different. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void slicesGiveTheSameBits(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (Shape shape : SHAPES) {
      for (boolean training : new boolean[] {false, true}) {
        Call plain = run(new Call(dtype, format, shape, 4), backend, Activation.RELU, training);
        Call call = new Call(dtype, format, shape, 4);
        call.x = sliced(call.x, 1);
        call.residual = sliced(call.residual, 2);
        call.dy = sliced(call.dy, 3);
        call.out = sliced(call.out, 4);
        call.dx = sliced(call.dx, 5);
        call.dresidual = sliced(call.dresidual, 6);
        run(call, backend, Activation.RELU, training);
        assertSameBits(plain.out, call.out, "out");
        assertSameBits(plain.dx, call.dx, "dx");
        assertSameBits(plain.dresidual, call.dresidual, "dresidual");
        assertSameBits(plain.dweight, call.dweight, "dweight");
        assertSameBits(plain.dbias, call.dbias, "dbias");
        assertSameBits(plain.runningMean, call.runningMean, "running_mean");
      }
    }
  }

  /** A copy of t within a larger tensor of more channels and samples. */
  private static Tensor sliced(Tensor t, int more) {
    Shape shape = t.shape();
    Shape larger = shape.with(0, shape.dim(0) + 2).with(1, shape.dim(1) + 2 * more);
    Tensor slice =
        Tensor.zeros(t.dtype(), t.format(), larger)
            .narrow(0, 1, shape.dim(0))
            .narrow(1, more, shape.dim(1));
    return slice.copyFrom(t);
  }

  /** y = act(normalized + residual), and its gradients, put together from the plain functions. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void fusionIsWhatItsPartsAre(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    double unit =
        switch (dtype) {
          case F64 -> 1e-14;
          case F32 -> 1e-5;
          case F16 -> 1e-2;
          default -> 1e-1;
        };
    for (Activation activation : List.of(Activation.RELU, Activation.leakyRelu(0.25))) {
      for (Shape shape : SHAPES) {
        for (boolean training : new boolean[] {false, true}) {
          Call fused = run(new Call(dtype, format, shape, 5), backend, activation, training);
          Call plain = new Call(dtype, format, shape, 5);
          Tensor residual = plain.residual;
          plain.residual = null;
          forward(plain, backend, Activation.NONE, training);
          double[] t = plain.out.toDoubleArray();
          double[] r = residual.toDoubleArray();
          double[] masked = plain.dy.toDoubleArray();
          double[] y = fused.out.toDoubleArray();
          for (int i = 0; i < t.length; i++) {
            double sum = t[i] + r[i];
            double expected = sum < 0 ? activation.slope() * sum : sum;
            assertEquals(expected, y[i], unit * (1 + Math.abs(t[i])), "y");
            if (y[i] <= 0) {
              // ReLU's zero is positive.
              masked[i] = activation.slope() == 0 ? 0 : activation.slope() * masked[i];
            }
          }
          assertArrayEquals(masked, fused.dresidual.toDoubleArray(), unit, "dresidual");
          plain.dy.copyFrom(masked);
          backward(plain, training);
          // The mask is exact in these types (slope 1/4), so the rest is the plain backward.
          assertSameBits(plain.dx, fused.dx, "dx");
          assertSameBits(plain.dweight, fused.dweight, "dweight");
          assertSameBits(plain.dbias, fused.dbias, "dbias");
        }
      }
    }
  }

  /** Without a residual y need not be given; neither need any gradient, and slices are as good. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void theMaskIsComputedAgainWithoutY(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (Activation activation : List.of(Activation.RELU, Activation.leakyRelu(0.25))) {
      for (Shape shape : SHAPES) {
        for (boolean training : new boolean[] {false, true}) {
          Call withY = new Call(dtype, format, shape, 8);
          withY.residual = null;
          withY.dresidual = null;
          run(withY, backend, activation, training);
          for (int wanted = 1; wanted < 8; wanted++) {
            Call call = new Call(dtype, format, shape, 8);
            call.residual = null;
            call.dresidual = null;
            forward(call, backend, activation, training);
            call.x = sliced(call.x, 1);
            call.dy = sliced(call.dy, 2);
            call.dx = (wanted & 1) == 0 ? null : wanted == 7 ? call.dy : call.dx;
            call.dweight = (wanted & 2) == 0 ? null : call.dweight;
            call.dbias = (wanted & 4) == 0 ? null : call.dbias;
            backward(call, training);
            assertSameGradients(withY, call);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void anyGradientMayBeLeftOut(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (boolean training : new boolean[] {false, true}) {
      Shape shape = Shape.of(3, 5, 4);
      Call all = run(new Call(dtype, format, shape, 6), backend, Activation.RELU, training);
      for (int mask = 0; mask < 16; mask++) {
        Call call = new Call(dtype, format, shape, 6);
        call.dx = (mask & 1) == 0 ? null : call.dx;
        call.dresidual = (mask & 2) == 0 ? null : call.dresidual;
        call.dweight = (mask & 4) == 0 ? null : call.dweight;
        call.dbias = (mask & 8) == 0 ? null : call.dbias;
        run(call, backend, Activation.RELU, training);
        assertSameGradients(all, call);
      }
    }
  }

  /** Of those that the second wants. */
  private static void assertSameGradients(Call all, Call call) {
    if (call.dx != null) {
      assertSameBits(all.dx, call.dx, "dx");
    }
    if (call.dresidual != null) {
      assertSameBits(all.dresidual, call.dresidual, "dresidual");
    }
    if (call.dweight != null) {
      assertSameBits(all.dweight, call.dweight, "dweight");
    }
    if (call.dbias != null) {
      assertSameBits(all.dbias, call.dbias, "dbias");
    }
  }

  /** Every pair of formats of x and dy; dx has x's. And no format changes a bit. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void dyMayHaveAnotherFormat(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (Shape shape : SHAPES) {
      for (boolean training : new boolean[] {false, true}) {
        Call first =
            run(
                new Call(dtype, MemoryFormat.CHANNELS_FIRST, shape, 7),
                backend,
                Activation.NONE,
                training);
        for (MemoryFormat dyFormat : MemoryFormat.values()) {
          Call call = new Call(dtype, format, shape, 7);
          call.dy = call.dy.to(dyFormat);
          run(call, backend, Activation.NONE, training);
          assertEquals(format, call.dx.format());
          assertSameBits(first.out, call.out, "out");
          assertSameBits(first.dx, call.dx, "dx");
          assertSameBits(first.dweight, call.dweight, "dweight");
          assertSameBits(first.dbias, call.dbias, "dbias");
          assertSameBits(first.runningMean, call.runningMean, "running_mean");
          assertSameBits(first.runningVar, call.runningVar, "running_var");
        }
      }
    }
  }

  /** One tensor as weight, bias, mean and variance; in training as weight and running_mean. */
  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void oneTensorMayBeSeveralParameters(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (Shape shape : SHAPES) {
      Call call = new Call(dtype, format, shape, 8);
      Tensor one = call.runningVar;
      call.runningMean = one;
      call.weight = one;
      call.bias = one;
      forward(call, backend, Activation.NONE, false);
      Call copies = new Call(dtype, format, shape, 8);
      copies.runningMean = one.to(dtype.parameterType());
      copies.weight = one.to(dtype.parameterType());
      copies.bias = one.to(dtype.parameterType());
      forward(copies, backend, Activation.NONE, false);
      assertSameBits(copies.out, call.out, "out in inference");

      call = new Call(dtype, format, shape, 9);
      call.weight = call.runningMean;
      call.bias = call.runningVar;
      copies = new Call(dtype, format, shape, 9);
      copies.weight = copies.runningMean.to(dtype.parameterType());
      copies.bias = copies.runningVar.to(dtype.parameterType());
      forward(call, backend, Activation.NONE, true);
      forward(copies, backend, Activation.NONE, true);
      assertSameBits(copies.out, call.out, "out in training");
      assertSameBits(copies.runningMean, call.runningMean, "running_mean");
      assertSameBits(copies.runningVar, call.runningVar, "running_var");
    }
  }

  @ParameterizedTest
  @MethodSource("backendsAndTypes")
  void emptyInputChangesNothing(BatchNormBackend backend, DType dtype, MemoryFormat format) {
    for (Shape shape : List.of(Shape.of(0, 3, 2, 2), Shape.of(0, 3), Shape.of(2, 3, 0))) {
      for (boolean training : new boolean[] {false, true}) {
        Call call = new Call(dtype, format, shape, 10);
        List<double[]> before = call.state();
        forward(call, backend, Activation.NONE, training);
        List<double[]> after = call.state();
        for (int i = 0; i < before.size(); i++) {
          assertArrayEquals(before.get(i), after.get(i));
        }
        backward(call, training);
        assertArrayEquals(new double[3], call.dweight.toDoubleArray());
        assertArrayEquals(new double[3], call.dbias.toDoubleArray());
      }
    }
    Call call = new Call(dtype, format, Shape.of(0, 3, 2), 10);
    call.weight = Tensor.zeros(dtype.parameterType(), 4);
    assertEquals(
        "weight should contain 3 elements not 4",
        assertThrows(IllegalArgumentException.class, call::training).getMessage());
  }

  @Test
  void withoutChannelsThereIsNothingToDo() {
    Call call = new Call(DType.F32, MemoryFormat.CHANNELS_FIRST, Shape.of(2, 0, 3), 11);
    run(call, Backends.best(), Activation.NONE, true);
    run(call, Backends.best(), Activation.NONE, false);
    assertEquals(0, call.out.size());
  }

  /** momentum -1.2, -1, 0, 0.5, 1.7: legal in PyTorch, and what they say. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void anyFiniteMomentumIsLegal(BatchNormBackend backend) {
    for (double momentum : new double[] {-1.2, -1, 0, 0.5, 1.7}) {
      Call call = new Call(DType.F64, MemoryFormat.CHANNELS_FIRST, Shape.of(2, 1, 1), 12);
      call.x.copyFrom(new double[] {1, 3});
      call.runningMean.fill(5);
      call.runningVar.fill(7);
      call.momentum = momentum;
      forward(call, backend, Activation.NONE, true);
      assertEquals(momentum * 2 + (1 - momentum) * 5, call.runningMean.get(0), 1e-14);
      assertEquals(momentum * 2 + (1 - momentum) * 7, call.runningVar.get(0), 1e-14);
    }
  }

  /** eps = 0 is legal where running statistics are used, which makes an identity possible. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void zeroEpsIsLegalInInference(BatchNormBackend backend) {
    Call call = new Call();
    call.residual = null;
    call.runningMean.fill(0);
    call.runningVar.fill(1);
    call.weight = null;
    call.bias = null;
    call.eps = 0;
    forward(call, backend, Activation.NONE, false);
    assertSameBits(call.x, call.out, "out");
  }

  @Test
  void shortFormsAreTheLongOnesWithDefaults() {
    Call call = new Call();
    call.residual = null;
    Tensor out = Tensor.zerosLike(call.x);
    assertSame(
        out,
        BatchNormFunctions.batchNormInference(
            call.x, call.runningMean, call.runningVar, call.weight, call.bias, call.eps, out));
    assertSameBits(call.inference().out, out, "inference");
    Call other = new Call();
    other.residual = null;
    BatchNormFunctions.batchNormTraining(
        other.x,
        other.runningMean,
        other.runningVar,
        other.weight,
        other.bias,
        other.momentum,
        other.eps,
        other.saved,
        other.out);
    assertSameBits(call.training().out, other.out, "training");
    assertSameBits(call.runningMean, other.runningMean, "running_mean");
    assertTrue(other.saved.invStd().get(0) != 1);
  }
}
