package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The first promise: the same bits. Everything is compared with the Java backend on dense,
 * channels-first, out-of-place tensors, for every instruction set of this CPU, threads, memory
 * formats, types, fusions, alignments, pitches and in-place forms.
 *
 * <p>{@code -Dbatchnorm4j.full=true} takes the whole product instead of a slice through it.
 */
class ConformanceTest {
  private static final boolean FULL = Boolean.getBoolean("batchnorm4j.full");

  /** A problem: what is computed. */
  record Task(
      long n,
      long c,
      long s,
      DType dtype,
      Activation activation,
      boolean residual,
      boolean affine) {
    Task(long n, long c, long s) {
      this(n, c, s, DType.F32, Activation.NONE, false, true);
    }

    Task with(DType type, Activation act, boolean add, boolean scaled) {
      return new Task(n, c, s, type, act, add, scaled);
    }

    Problem problem(Layout layout) {
      return new Problem(n, c, s, layout, dtype, activation);
    }
  }

  /** How it is computed, which must not matter. */
  record How(
      BatchNormBackend backend, MemoryFormat format, boolean inPlace, int misalign, int gap) {
    @Override
    public String toString() {
      String name =
          backend instanceof NativeBackend b ? b.isa() + "x" + b.threads() : backend.name();
      return name + " " + format + " inPlace=" + inPlace + " misalign=" + misalign + " gap=" + gap;
    }
  }

  /** Values by the loops they hit; docs/numerics.md has the sizes of lanes, chunks and segments. */
  static Stream<Task> sizes() {
    return Stream.of(
        new Task(2, 1, 1), // a head of two
        new Task(1, 3, 5), // a lane tail only
        new Task(16, 17, 1), // exactly a head; channels 16 + 1
        new Task(17, 16, 1), // a head and one; channels exact
        new Task(2, 33, 8), // rows shorter than a vector
        new Task(3, 50, 7), // odd everything
        new Task(1, 7, 256), // exactly a chunk
        new Task(1, 5, 257), // a chunk and one value
        new Task(2, 5, 129), // a chunk across samples, and a tail
        new Task(64, 50, 1), // (N, C)
        new Task(4, 64, 49), // ResNet's last layers
        new Task(2, 19, 196), // chunks across samples
        new Task(1, 2, 1021), // prime
        new Task(300, 16, 1), // (N, C) beyond a chunk
        new Task(1, 1, 16384 + 300), // more than 64 chunks: segments of two
        new Task(5, 2, 3500), // the same across samples
        new Task(70, 600, 3)); // more than a strip of 512 channels
  }

  @ParameterizedTest
  @MethodSource("sizes")
  void sizesOnEveryInstructionSet(Task task) {
    List<How> hows = new ArrayList<>();
    for (NativeBackend b : natives()) {
      for (MemoryFormat format : MemoryFormat.values()) {
        hows.add(new How(b.withThreads(1), format, false, 0, 0));
      }
    }
    expectSameBits(task, hows);
  }

  static Stream<Task> typesAndFusions() {
    List<Task> tasks = new ArrayList<>();
    List<Task> sizes = FULL ? sizes().toList() : List.of(new Task(3, 37, 43));
    for (Task size : sizes) {
      for (DType type : List.of(DType.F32, DType.F64, DType.BF16, DType.F16)) {
        for (Activation act :
            List.of(Activation.NONE, Activation.RELU, Activation.leakyRelu(0.01))) {
          for (boolean residual : new boolean[] {false, true}) {
            for (boolean affine : new boolean[] {false, true}) {
              tasks.add(size.with(type, act, residual, affine));
            }
          }
        }
      }
    }
    return tasks.stream();
  }

  @ParameterizedTest
  @MethodSource("typesAndFusions")
  void typesAndFusionsInAndOutOfPlace(Task task) {
    List<How> hows = new ArrayList<>();
    for (NativeBackend b : natives()) {
      for (MemoryFormat format : MemoryFormat.values()) {
        for (int threads : FULL ? new int[] {1, 2, 3, 7} : new int[] {3}) {
          hows.add(new How(b.withThreads(threads), format, true, 3, 5));
          hows.add(new How(b.withThreads(threads), format, false, 0, 0));
        }
      }
    }
    hows.add(new How(Backends.javaBackend(), MemoryFormat.CHANNELS_LAST, true, 1, 2));
    expectSameBits(task, hows);
  }

  static Stream<Task> large() {
    return Stream.of(
        new Task(16, 32, 196), new Task(2, 3, 40_000), new Task(6000, 24, 1), new Task(8, 520, 49));
  }

  @ParameterizedTest
  @MethodSource("large")
  void anyNumberOfThreads(Task task) {
    List<How> hows = new ArrayList<>();
    for (int threads : new int[] {1, 2, 3, 7}) {
      for (MemoryFormat format : MemoryFormat.values()) {
        hows.add(new How(Backends.nativeBackend().withThreads(threads), format, false, 0, 0));
      }
    }
    expectSameBits(task, hows);
  }

  @Test
  void anyAlignment() {
    for (DType type : List.of(DType.F32, DType.BF16)) {
      List<How> hows = new ArrayList<>();
      for (int misalign = 0; misalign < 16; misalign++) {
        for (MemoryFormat format : MemoryFormat.values()) {
          hows.add(new How(Backends.nativeBackend(), format, false, misalign, misalign % 3));
        }
      }
      expectSameBits(new Task(2, 20, 67).with(type, Activation.RELU, true, true), hows);
    }
  }

  /** Large enough to be written around the caches, often enough that both ways are tried. */
  @Test
  void beyondTheCaches() {
    List<How> hows = new ArrayList<>();
    for (MemoryFormat format : MemoryFormat.values()) {
      for (int call = 0; call < 12; call++) {
        hows.add(new How(Backends.nativeBackend(), format, false, 0, 0));
      }
    }
    expectSameBits(new Task(16, 67, 3136), hows);
  }

  /** A buffer may lie between floats' own addresses; no store of it can be an aligned one. */
  @Test
  void outputsThatNothingAligns() {
    long[] shape = {8, 64, 3136};
    int count = 8 * 64 * 3136;
    Random random = new Random(5);
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    Problem problem = new Problem(8, 64, 3136, Layout.NCS, DType.F32, Activation.NONE);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, 64);
    Tensor x = Tensor.of(values, shape);
    Tensor runningMean = Tensor.zeros(64);
    Tensor runningVar = Tensor.zeros(64).fill(2);
    ByteBuffer bytes = ByteBuffer.allocateDirect(4 * count + 8).position(1).slice();
    Tensor out =
        Tensor.wrap(bytes.order(ByteOrder.nativeOrder()).asFloatBuffer().slice(0, count), shape);
    assertTrue(out.address() % 4 != 0, "the buffer is aligned after all");
    for (NativeBackend b : natives()) {
      for (int pass = 0; pass < 3; pass++) {
        // Often enough that both kinds of store would be tried.
        for (int call = 0; call < 12; call++) {
          Tensor to = call == 0 ? Tensor.zerosLike(x) : out.fill(9);
          switch (pass) {
            case 0 -> b.inference(problem, x, null, to, runningMean, runningVar, null, null, 1e-5);
            case 1 -> b.training(problem, x, null, to, null, null, 1e-5, saved, null, null, 0.1);
            default ->
                b.backwardTraining(problem, x, x, null, null, null, saved, to, null, null, null);
          }
          if (call == 0) {
            values = to.toFloatArray();
          } else {
            assertArrayEquals(values, to.toFloatArray(), b.isa() + ", pass " + pass);
          }
        }
      }
    }
  }

  /** Values that do not fit float sums, NaN and infinity, each in channels of its own. */
  @Test
  void extremeValues() {
    List<How> hows = new ArrayList<>();
    for (NativeBackend b : natives()) {
      for (MemoryFormat format : MemoryFormat.values()) {
        hows.add(new How(b, format, false, 0, 0));
      }
    }
    for (DType type : List.of(DType.F32, DType.F64)) {
      Task task = new Task(3, 21, 91).with(type, Activation.RELU, false, true);
      expectSameBits(task, hows, ConformanceTest::extreme);
    }
  }

  private static void extreme(Tensor x) {
    double[] sizes = {1e30, 1e-30, 3e38, 0, 1e6, Double.NaN, Double.POSITIVE_INFINITY};
    for (int n = 0; n < x.shape().dim(0); n++) {
      for (int c = 0; c < x.shape().dim(1); c++) {
        for (int i = 0; i < x.shape().dim(2); i++) {
          double v = ((n * 7 + i * 3 + c) % 13 - 6) / 6.0;
          double size = sizes[c % sizes.length];
          boolean special = Double.isNaN(size) || Double.isInfinite(size);
          x.set(special ? (i == 5 ? size : v) : size == 1e6 ? size + v : v * size, n, c, i);
        }
      }
    }
  }

  @Test
  void allInstructionSetsOfThisCpuAreTested() {
    assertEquals(
        Backends.supportedIsas(),
        new HashSet<>(natives().stream().map(NativeBackend::isa).toList()));
    assertTrue(Backends.supportedIsas().contains(Isa.SCALAR));
  }

  private static List<NativeBackend> natives() {
    NativeBackend b = Backends.nativeBackend();
    return Backends.supportedIsas().stream().map(b::withIsa).toList();
  }

  private interface Change {
    void apply(Tensor x);
  }

  private static void expectSameBits(Task task, List<How> hows) {
    expectSameBits(task, hows, x -> {});
  }

  private static void expectSameBits(Task task, List<How> hows, Change change) {
    How reference = new How(Backends.javaBackend(), MemoryFormat.CHANNELS_FIRST, false, 0, 0);
    List<long[]> expected = run(task, reference, change);
    for (How how : hows) {
      List<long[]> got = run(task, how, change);
      for (int i = 0; i < expected.size(); i++) {
        int output = i;
        assertArrayEquals(
            expected.get(i), got.get(i), () -> task + " on " + how + ", output " + output);
      }
    }
  }

  /** Forward and backward in both modes; the bits of all outputs. */
  private static List<long[]> run(Task task, How how, Change change) {
    Random random = new Random(7);
    DType parameters = task.dtype().parameterType();
    List<long[]> outputs = new ArrayList<>();
    Layout layout = how.format() == MemoryFormat.CHANNELS_FIRST ? Layout.NCS : Layout.NSC;
    Problem problem = task.problem(layout);
    BatchNormBackend backend = how.backend();
    for (boolean training : new boolean[] {true, false}) {
      Tensor x = data(task, how, random, 0.4);
      change.apply(x);
      Tensor residual = data(task, how, random, 0);
      Tensor dy = data(task, how, random, 0);
      Tensor out = how.inPlace() ? x : data(task, how, null, 0);
      Tensor dx = how.inPlace() ? dy : data(task, how, null, 0);
      Tensor dresidual = task.residual() ? data(task, how, null, 0) : null;
      Tensor kept = data(task, how, null, 0);
      kept.copyFrom(x);
      Tensor weight = task.affine() ? channel(task, parameters, random, -1, 2) : null;
      Tensor bias = task.affine() ? channel(task, parameters, random, -1, 1) : null;
      Tensor runningMean = channel(task, parameters, random, -1, 1);
      Tensor runningVar = channel(task, parameters, random, 0.1, 4);
      Tensor dweight = channel(task, parameters, random, 0, 1);
      Tensor dbias = channel(task, parameters, random, 0, 1);
      SavedStatistics saved = SavedStatistics.allocate(parameters, task.c());
      Tensor add = task.residual() ? residual : null;
      Tensor y = task.activation().kind() == Activation.Kind.NONE ? null : out;
      // The same with the mask computed again, before dy is overwritten.
      boolean masksByX = y != null && add == null;
      Tensor dxByX = data(task, how, null, 0);
      Tensor dweightByX = Tensor.zeros(parameters, task.c());
      Tensor dbiasByX = Tensor.zeros(parameters, task.c());
      if (training) {
        backend.training(
            problem, x, add, out, weight, bias, 1e-5, saved, runningMean, runningVar, 0.1);
        note(outputs, out, saved.mean(), saved.meanLow(), saved.invStd(), runningMean, runningVar);
        steps(outputs, task, how, problem, dy, kept, y, weight, bias, add, saved);
        if (masksByX) {
          backend.backwardTraining(
              problem, dy, kept, null, weight, bias, saved, dxByX, null, dweightByX, dbiasByX);
        }
        backend.backwardTraining(
            problem, dy, kept, y, weight, bias, saved, dx, dresidual, dweight, dbias);
      } else {
        backend.inference(problem, x, add, out, runningMean, runningVar, weight, bias, 1e-5);
        note(outputs, out);
        if (masksByX) {
          backend.backwardInference(
              problem,
              dy,
              kept,
              null,
              weight,
              bias,
              runningMean,
              runningVar,
              1e-5,
              dxByX,
              null,
              dweightByX,
              dbiasByX);
        }
        backend.backwardInference(
            problem,
            dy,
            kept,
            y,
            weight,
            bias,
            runningMean,
            runningVar,
            1e-5,
            dx,
            dresidual,
            dweight,
            dbias);
      }
      note(outputs, dx, dresidual, dweight, dbias);
      if (masksByX) {
        assertArrayEquals(dx.toDoubleArray(), dxByX.toDoubleArray(), () -> task + " on " + how);
        assertArrayEquals(dweight.toDoubleArray(), dweightByX.toDoubleArray());
        assertArrayEquals(dbias.toDoubleArray(), dbiasByX.toDoubleArray());
      }
    }
    return outputs;
  }

  /** Each step alone. They must also give what the whole gives, which the whole's outputs show. */
  private static void steps(
      List<long[]> outputs,
      Task task,
      How how,
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      @Nullable Tensor residual,
      SavedStatistics saved) {
    BatchNormBackend backend = how.backend();
    Tensor mean = Tensor.zeros(DType.F64, task.c());
    Tensor m2 = Tensor.zeros(DType.F64, task.c());
    backend.statistics(problem, x, mean, m2);
    Tensor normalized = data(task, how, null, 0);
    backend.normalize(problem, x, residual, normalized, saved, weight, bias);
    Tensor sumDy = Tensor.zeros(DType.F64, task.c());
    Tensor dot = Tensor.zeros(DType.F64, task.c());
    backend.gradientSums(problem, dy, x, y, saved, sumDy, dot);
    Tensor dx = data(task, how, null, 0);
    Tensor dresidual = task.residual() ? data(task, how, null, 0) : null;
    backend.inputGradient(
        problem, dy, x, y, weight, saved, sumDy, dot, task.n() * task.s(), dx, dresidual);
    note(outputs, mean, m2, normalized, sumDy, dot, dx, dresidual);

    Tensor whole = data(task, how, null, 0);
    Tensor wholeDx = data(task, how, null, 0);
    SavedStatistics again = SavedStatistics.allocate(task.dtype().parameterType(), task.c());
    backend.training(problem, x, residual, whole, weight, bias, 1e-5, again, null, null, 0.1);
    assertArrayEquals(whole.toDoubleArray(), normalized.toDoubleArray());
    backend.backwardTraining(
        problem, dy, x, y, weight, bias, saved, wholeDx, dresidual, null, null);
    assertArrayEquals(wholeDx.toDoubleArray(), dx.toDoubleArray());
  }

  private static void note(List<long[]> outputs, @Nullable Tensor... tensors) {
    for (Tensor t : tensors) {
      if (t != null) {
        double[] values = t.toDoubleArray();
        long[] bits = new long[values.length];
        for (int i = 0; i < bits.length; i++) {
          bits[i] = Double.doubleToLongBits(values[i]);
        }
        outputs.add(bits);
      }
    }
  }

  /** Data in some place in memory; zeros without a random source. */
  private static Tensor data(Task task, How how, @Nullable Random random, double shift) {
    // The gap is extra channels that belong to nobody.
    Shape padded = Shape.of(task.n(), task.c() + how.gap(), task.s());
    Tensor base = Tensor.zeros(task.dtype(), padded.size() + how.misalign());
    Tensor whole = base.narrow(0, how.misalign(), padded.size()).view(how.format(), padded);
    Tensor t = how.gap() == 0 ? whole : whole.narrow(1, 0, task.c());
    if (random != null) {
      double[] values = new double[(int) t.size()];
      for (int i = 0; i < values.length; i++) {
        values[i] = random.nextGaussian() + shift;
      }
      t.copyFrom(values);
    }
    return t;
  }

  private static Tensor channel(Task task, DType type, Random random, double low, double high) {
    double[] values = new double[(int) task.c()];
    for (int i = 0; i < values.length; i++) {
      values[i] = low + (high - low) * random.nextDouble();
    }
    return Tensor.zeros(type, task.c()).copyFrom(values);
  }
}
