package org.batchnorm4j.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.batchnorm4j.TestBackends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.nn.functional.BatchNormFunctions;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;

/**
 * Our modules against PyTorch's: outputs, gradients, running statistics and counter, over several
 * steps of random modes on random configurations, on every backend. {@code
 * -Dbatchnorm4j.torch.cases=20000} runs more of them, {@code -Dbatchnorm4j.torch.first=1234} starts
 * at the one a failure names.
 */
class TorchOracleTest {
  /** Eight times every combination of what {@link #config} does not leave to chance. */
  private static final int CASES = Integer.getInteger("batchnorm4j.torch.cases", 2048);

  private static final int FIRST = Integer.getInteger("batchnorm4j.torch.first", 0);

  private static final List<BatchNormBackend> BACKENDS =
      TestBackends.all().map(Named::getPayload).toList();

  /** A module, and the batches it sees. */
  private record Config(
      int number,
      int dims,
      Shape shape,
      DType dtype,
      Layout layout,
      Layout dyLayout,
      double eps,
      @Nullable Double momentum,
      boolean affine,
      boolean track,
      boolean[] training,
      double meanOverStd) {

    int channels() {
      return (int) shape.dim(1);
    }

    int spatial() {
      int spatial = 1;
      for (int i = 2; i < shape.rank(); i++) {
        spatial *= (int) shape.dim(i);
      }
      return spatial;
    }

    @Override
    public String toString() {
      return String.format(
          "case %d: BatchNorm%dd on %s %s %s, dy %s, eps=%s, momentum=%s, affine=%s, track=%s,"
              + " training=%s, mean/std=%s",
          number,
          dims,
          dtype,
          shape,
          layout,
          dyLayout,
          eps,
          momentum,
          affine,
          track,
          Arrays.toString(training),
          meanOverStd);
    }
  }

  /** How a tensor lies in memory: PyTorch gets the same values in the same format, without gaps. */
  private record Layout(MemoryFormat format, boolean slice) {
    static final Layout PLAIN = new Layout(MemoryFormat.CHANNELS_FIRST, false);

    Tensor of(DType dtype, Shape shape, double[] values) {
      if (!slice) {
        return Tensor.zeros(dtype, format, shape).copyFrom(values);
      }
      long[] larger = shape.toArray();
      larger[1] += 3;
      Tensor whole = Tensor.zeros(dtype, format, Shape.of(larger)).fill(Double.NaN);
      return whole.narrow(1, 2, shape.dim(1)).copyFrom(values);
    }
  }

  @Test
  void agreesWithPyTorch() {
    int refused = 0;
    for (int number = FIRST; number < FIRST + CASES; number++) {
      Random random = new Random(number);
      // The first numbers of neighbouring seeds are alike.
      random.nextLong();
      refused += run(config(number, random), random);
    }
    int batchesOfOneValue = refused;
    assertTrue(CASES < 2000 || refused > 10, () -> batchesOfOneValue + " were refused");
  }

  /** What the tests of PyTorch and XLA run without literal values; see the README beside it. */
  private static List<JsonObject> corpus(String table) throws IOException {
    try (Reader in =
        new InputStreamReader(
            TorchOracleTest.class.getResourceAsStream("/corpus/pytorch.json"),
            StandardCharsets.UTF_8)) {
      JsonObject corpus = JsonParser.parseReader(in).getAsJsonObject();
      return corpus.getAsJsonArray(table).asList().stream()
          .map(JsonElement::getAsJsonObject)
          .toList();
    }
  }

  private static long[] longs(JsonObject of, String name) {
    return of.getAsJsonArray(name).asList().stream().mapToLong(JsonElement::getAsLong).toArray();
  }

  private static int dims(Shape shape) {
    return Math.max(1, shape.rank() - 2);
  }

  /** The configurations of PyTorch's own module tests. */
  @Test
  void moduleInputsOfPyTorch() throws IOException {
    int number = 0;
    for (JsonObject input : corpus("module_inputs")) {
      // Python's arguments, such as (10, 1e-3, None, False, True).
      String arguments = input.get("ctor").getAsString().replaceAll("[() ]", "");
      String[] given = arguments.split(",");
      String[] all = {"", "1e-5", "0.1", "True", "True"};
      System.arraycopy(given, 0, all, 0, given.length);
      Shape shape = Shape.of(longs(input, "shape"));
      assertEquals(Long.parseLong(all[0]), shape.dim(1));
      assertEquals("BatchNorm" + dims(shape) + "d", input.get("cls").getAsString());
      for (DType dtype : List.of(DType.F32, DType.F64)) {
        Config config =
            new Config(
                number++,
                dims(shape),
                shape,
                dtype,
                Layout.PLAIN,
                Layout.PLAIN,
                Double.parseDouble(all[1]),
                all[2].equals("None") ? null : Double.valueOf(all[2]),
                all[3].equals("True"),
                all[4].equals("True"),
                new boolean[] {true, true, false},
                1);
        assertEquals(0, run(config, new Random(number)));
      }
    }
    assertEquals(2 * 19, number);
  }

  /** The calls of {@code batch_norm} in PyTorch's tests of functions. */
  @Test
  void functionalSamplesOfPyTorch() throws IOException {
    int number = 0;
    for (JsonObject sample : corpus("functional_samples")) {
      number++;
      Shape shape = Shape.of(longs(sample, "shape"));
      boolean training = sample.has("training") && sample.get("training").getAsBoolean();
      if (shape.rank() < 2) {
        // The function of libtorch refuses it, that of Python computes nothing.
        Tensor x = Tensor.zeros(shape.toArray());
        String message =
            assertThrows(
                    IllegalArgumentException.class,
                    () -> BatchNormFunctions.batchNormInference(x, x, x, x, x, 1e-5, x))
                .getMessage();
        assertTrue(message.startsWith("Expected at least 2 input dimensions, but got 1"), message);
        continue;
      }
      boolean plain = sample.has("plain");
      Config config =
          new Config(
              number,
              dims(shape),
              shape,
              DType.F64,
              Layout.PLAIN,
              Layout.PLAIN,
              sample.has("eps") ? sample.get("eps").getAsDouble() : 1e-5,
              sample.has("momentum") ? sample.get("momentum").getAsDouble() : 0.1,
              !plain,
              !plain,
              new boolean[] {training},
              1);
      assertEquals(0, run(config, new Random(number)));
    }
    assertEquals(9, number);
  }

  /** The shapes of PyTorch's test of memory formats, some of which lie the same in both. */
  @Test
  void memoryFormatsOfPyTorch() throws IOException {
    int number = 0;
    for (JsonObject entry : corpus("memory_formats")) {
      Shape shape = Shape.of(longs(entry, "shape"));
      for (DType dtype : List.of(DType.F32, DType.BF16, DType.F16)) {
        for (MemoryFormat format : MemoryFormat.values()) {
          for (MemoryFormat dyFormat : MemoryFormat.values()) {
            Config config =
                new Config(
                    number++,
                    dims(shape),
                    shape,
                    dtype,
                    new Layout(format, false),
                    new Layout(dyFormat, false),
                    1e-5,
                    0.1,
                    true,
                    true,
                    new boolean[] {true, false},
                    1);
            assertEquals(0, run(config, new Random(number)));
          }
        }
      }
    }
    assertEquals(6 * 12, number);
  }

  /** XLA's shapes, whose channels are anywhere, with data of the given mean and variance. */
  @Test
  void randomShapesOfXla() throws IOException {
    int number = 0;
    for (JsonObject entry : corpus("xla_grid")) {
      long[] bounds = longs(entry, "bounds");
      int feature = entry.get("feature_index").getAsInt();
      long[] dims = new long[bounds.length];
      for (int from = 0, to = 0; from < bounds.length; from++) {
        if (from != feature) {
          dims[to == 0 ? 0 : to + 1] = bounds[from];
          to++;
        }
      }
      dims[1] = bounds[feature];
      double var = entry.get("var").getAsDouble();
      Config config =
          new Config(
              number++,
              2,
              Shape.of(dims),
              DType.F32,
              Layout.PLAIN,
              Layout.PLAIN,
              1e-3,
              0.1,
              true,
              true,
              new boolean[] {true, false},
              Math.abs(entry.get("mean").getAsDouble()) / Math.sqrt(var));
      assertEquals(0, run(config, new Random(number)));
    }
    assertEquals(14, number);
  }

  /** What PyTorch's tests expect to be refused, and in which words. */
  @Test
  void errorsOfPyTorch() throws IOException {
    List<String> messages = new ArrayList<>();
    corpus("errors").forEach(e -> messages.add(e.get("message").getAsString()));
    List<String> ours = new ArrayList<>();
    BatchNorm1d bn = new BatchNorm1d(10);
    ours.add(
        assertThrows(IllegalArgumentException.class, () -> bn.forward(PyTorch.random(1, 1, 10, 1)))
            .getMessage());
    Tensor x = PyTorch.random(2, 2, 10);
    for (int wrong = 0; wrong < 4; wrong++) {
      Tensor[] perChannel = new Tensor[4];
      Arrays.setAll(perChannel, i -> Tensor.zeros(10).fill(1));
      perChannel[wrong] = Tensor.zeros(9).fill(1);
      ours.add(
          assertThrows(
                  IllegalArgumentException.class,
                  () ->
                      BatchNormFunctions.batchNormInference(
                          x,
                          perChannel[0],
                          perChannel[1],
                          perChannel[2],
                          perChannel[3],
                          1e-5,
                          Tensor.zerosLike(x)))
              .getMessage());
    }
    assertEquals(messages, ours);
  }

  /**
   * Rank, type, layouts, affine and tracking in every combination, one after another; the rest as
   * chance has it.
   */
  private static Config config(int number, Random random) {
    int rest = number;
    final int rank = 2 + rest % 4;
    rest /= 4;
    final DType dtype = List.of(DType.F32, DType.F64, DType.BF16, DType.F16).get(rest % 4);
    rest /= 4;
    final MemoryFormat format = MemoryFormat.values()[rest % 2];
    rest /= 2;
    final MemoryFormat dyFormat = MemoryFormat.values()[rest % 2];
    rest /= 2;
    final boolean affine = rest % 2 == 0;
    rest /= 2;
    final boolean track = rest % 2 == 0;
    boolean[] training = new boolean[1 + random.nextInt(4)];
    for (int i = 0; i < training.length; i++) {
      training[i] = random.nextInt(3) > 0;
    }
    long[] dims = new long[rank];
    long values;
    do {
      dims[0] = pick(random, 0, 1, 1, 2, 2, 3, 3, 4, 4, 7, 7, rank == 2 ? 300 : 16);
      dims[1] = pick(random, 1, 2, 3, 5, 8, 16, 17, 33, 70);
      values = dims[0];
      for (int i = 2; i < rank; i++) {
        dims[i] = rank == 3 ? pick(random, 1, 2, 5, 16, 37, 150) : pick(random, 1, 2, 3, 7, 9);
        values *= dims[i];
      }
    } while (values * dims[1] > 20_000);
    boolean half = dtype == DType.BF16 || dtype == DType.F16;
    return new Config(
        number,
        Math.max(1, rank - 2),
        Shape.of(dims),
        dtype,
        new Layout(format, random.nextInt(4) == 0),
        new Layout(dyFormat, random.nextInt(4) == 0),
        pick(random, 1e-5, 1e-3, 0.5),
        new Double[] {0.1, 0.1, 0.3, 1.0, 0.0, -0.5, 1.7, null}[random.nextInt(8)],
        affine,
        track,
        training,
        // Half types hold no more digits than this: x itself would be constant.
        half ? pick(random, 0, 1, 10) : pick(random, 0, 1, 10, 100, 1000));
  }

  private static long pick(Random random, int... of) {
    return of[random.nextInt(of.length)];
  }

  private static double pick(Random random, double... of) {
    return of[random.nextInt(of.length)];
  }

  /** Returns how many batches were refused, by PyTorch and by us. */
  private static int run(Config config, Random random) {
    DType parameterType = config.dtype.parameterType();
    TorchBatchNorm theirs =
        new TorchBatchNorm(
            config.dims,
            config.channels(),
            config.eps,
            config.momentum,
            config.affine,
            config.track,
            parameterType);
    List<BatchNorm> all = modules(config);
    int refused = 0;
    randomize(all, theirs, parameterType, random);
    for (int step = 0; step < config.training.length; step++) {
      boolean training = config.training[step];
      all.forEach(bn -> bn.train(training));
      double[] values = data(config, random, config.meanOverStd);
      double[] gradients = data(config, random, 0.5);
      try (Tensor x = config.layout.of(config.dtype, config.shape, values);
          Tensor dy = config.dyLayout.of(config.dtype, config.shape, gradients)) {
        boolean oneValue = config.shape.dim(0) * config.spatial() == 1;
        if (oneValue && (training || !config.track)) {
          refuses(theirs, all, config, training, x, dy);
          refused++;
        } else {
          step(theirs, all, config, step, x, dy);
        }
      }
      // From the same state again, so that tolerances need not grow from step to step.
      synchronize(all.get(0), theirs);
    }
    all.forEach(BatchNorm::close);
    return refused;
  }

  private static TorchBatchNorm.Step step(
      TorchBatchNorm theirs, Config config, boolean training, Tensor x, Tensor dy) {
    return theirs.step(
        training,
        config.dtype,
        config.shape.toArray(),
        x.toDoubleArray(),
        config.layout.format,
        dy.toDoubleArray(),
        config.dyLayout.format);
  }

  private static void step(
      TorchBatchNorm theirs, List<BatchNorm> all, Config config, int step, Tensor x, Tensor dy) {
    boolean training = config.training[step];
    double[] meanBefore = theirs.get("running_mean");
    double[] varBefore = theirs.get("running_var");
    TorchBatchNorm.Step expected = step(theirs, config, training, x, dy);
    Check check =
        new Check(config, "step " + step, x, dy, all.get(0), training, meanBefore, varBefore);
    for (BatchNorm ours : all) {
      Tensor y = ours.forward(x);
      Tensor dx = ours.backward(dy);
      assertEquals(config.dtype, y.dtype());
      assertEquals(config.layout.format, y.format());
      assertEquals(config.dtype, dx.dtype());
      assertEquals(config.layout.format, dx.format());
      check.outputs(expected, ours, y, dx);
      check.statistics(theirs, ours);
    }
  }

  /** One value per channel has no variance: PyTorch and we say so in the same words. */
  private static void refuses(
      TorchBatchNorm theirs,
      List<BatchNorm> all,
      Config config,
      boolean training,
      Tensor x,
      Tensor dy) {
    String message = "Expected more than 1 value per channel when training, got input size ";
    Exception theirError =
        assertThrows(
            RuntimeException.class, () -> step(theirs, config, training, x, dy), config::toString);
    assertTrue(theirError.getMessage().startsWith(message), theirError::getMessage);
    for (BatchNorm ours : all) {
      Map<String, double[]> before = values(ours);
      Exception ourError =
          assertThrows(IllegalArgumentException.class, () -> ours.forward(x), config::toString);
      assertEquals(message + "torch.Size(" + config.shape + ")", ourError.getMessage());
      values(ours)
          .forEach((name, now) -> assertArrayEquals(before.get(name), now, config::toString));
    }
  }

  private static Map<String, double[]> values(BatchNorm bn) {
    Map<String, double[]> values = new LinkedHashMap<>();
    bn.stateDict().forEach((name, t) -> values.put(name, t.toDoubleArray()));
    return values;
  }

  /** One for each backend. */
  private static List<BatchNorm> modules(Config config) {
    List<BatchNorm> all = new ArrayList<>();
    for (BatchNormBackend backend : BACKENDS) {
      all.add(module(config).backend(backend));
    }
    return all;
  }

  private static BatchNorm module(Config config) {
    long c = config.shape.dim(1);
    BatchNorm.Builder<? extends BatchNorm> builder =
        switch (config.dims) {
          case 1 -> BatchNorm1d.builder(c);
          case 2 -> BatchNorm2d.builder(c);
          default -> BatchNorm3d.builder(c);
        };
    return builder
        .eps(config.eps)
        .momentum(config.momentum)
        .affine(config.affine)
        .trackRunningStats(config.track)
        .dtype(config.dtype.parameterType())
        .build();
  }

  private static void randomize(
      List<BatchNorm> all, TorchBatchNorm theirs, DType parameterType, Random random) {
    Map<String, Tensor> state = all.get(0).stateDict();
    state.forEach(
        (name, tensor) -> {
          if (tensor.dtype() == parameterType) {
            boolean var = name.equals("running_var");
            double[] values = new double[(int) tensor.size()];
            for (int i = 0; i < values.length; i++) {
              values[i] = var ? 0.1 + random.nextDouble() * 3 : random.nextGaussian();
            }
            theirs.set(name, tensor.copyFrom(values).toDoubleArray());
          }
        });
    all.subList(1, all.size()).forEach(bn -> bn.loadStateDict(state));
  }

  private static void synchronize(BatchNorm ours, TorchBatchNorm theirs) {
    ours.namedBuffers().forEach((name, tensor) -> theirs.set(name, tensor.toDoubleArray()));
  }

  /** Channels of various scales, with means of up to {@code meanOverStd} standard deviations. */
  private static double[] data(Config config, Random random, double meanOverStd) {
    int c = config.channels();
    double[] std = new double[c];
    double[] mean = new double[c];
    for (int i = 0; i < c; i++) {
      std[i] = Math.scalb(1.0, random.nextInt(7) - 3);
      mean[i] = std[i] * meanOverStd * (random.nextDouble() * 2 - 1);
    }
    double[] values = new double[(int) config.shape.size()];
    int spatial = config.spatial();
    for (int i = 0; i < values.length; i++) {
      int channel = i / spatial % c;
      values[i] = mean[channel] + std[channel] * random.nextGaussian();
    }
    return values;
  }

  /**
   * Comparisons, each with a tolerance of {@code unit} (what one rounding of the arithmetic is
   * worth) times a condition: {@code 16 + 2 sqrt(n)}, since PyTorch adds up n values one by one, in
   * f32 for channels last; and {@code 1 + |mean|/std}, since it rounds the mean to f32, or folds it
   * into the bias, before it subtracts. Ours is exact to a few units, see AccuracyTest; it is
   * PyTorch's error that has to be allowed for. Half types add the rounding of the result.
   */
  private static final class Check {
    private final Config config;
    private final String step;
    private final int n;
    private final int c;
    private final int spatial;
    private final double unit;
    private final double roundOff;
    private final double[] w;
    private final double[] b;

    /** Of the statistics that this step normalized with. */
    private final double[] mean;

    private final double[] invStd;

    /** Largest |x - mean| * invStd, largest |dy|, sum of |dy|, sum of |dy| * (1 + |x^|). */
    private final double[] xHat;

    private final double[] dyMax;
    private final double[] dySum;
    private final double[] dotSum;
    private final double[] runningMeanScale;
    private final double[] runningVarScale;

    Check(
        Config config,
        String step,
        Tensor x,
        Tensor dy,
        BatchNorm ours,
        boolean training,
        double @Nullable [] runningMean,
        double @Nullable [] runningVar) {
      this.config = config;
      this.step = step;
      c = config.channels();
      n = (int) config.shape.size() / c;
      spatial = config.spatial();
      // One unit in the last place: two neighbours of a tie may round apart.
      roundOff =
          switch (config.dtype) {
            case BF16 -> 0x1p-7;
            case F16 -> 0x1p-10;
            default -> 0;
          };
      // With no f32 parameter beside it, PyTorch keeps the statistics of half input in halves.
      boolean pureHalf = roundOff > 0 && !config.affine && !config.track;
      unit = config.dtype == DType.F64 ? 0x1p-53 : pureHalf ? roundOff / 2 : 0x1p-24;
      w = new double[c];
      b = new double[c];
      Arrays.fill(w, 1);
      if (config.affine) {
        System.arraycopy(ours.weight().value().toDoubleArray(), 0, w, 0, c);
        System.arraycopy(ours.bias().value().toDoubleArray(), 0, b, 0, c);
      }
      double[] values = x.toDoubleArray();
      double[] gradients = dy.toDoubleArray();
      mean = new double[c];
      invStd = new double[c];
      xHat = new double[c];
      dyMax = new double[c];
      dySum = new double[c];
      dotSum = new double[c];
      runningMeanScale = new double[c];
      runningVarScale = new double[c];
      double[] var = new double[c];
      for (int i = 0; i < values.length; i++) {
        mean[channel(i)] += values[i] / n;
      }
      for (int i = 0; i < values.length; i++) {
        double d = values[i] - mean[channel(i)];
        var[channel(i)] += d * d / n;
      }
      boolean batch = training || runningMean == null;
      for (int k = 0; k < c; k++) {
        if (runningMean != null) {
          double unbiased = var[k] * n / Math.max(1, n - 1);
          runningMeanScale[k] = Math.abs(runningMean[k]) + Math.abs(mean[k]) + Math.sqrt(var[k]);
          runningVarScale[k] = Math.abs(runningVar[k]) + unbiased;
        }
        mean[k] = batch ? mean[k] : runningMean[k];
        invStd[k] = 1 / Math.sqrt((batch ? var[k] : runningVar[k]) + config.eps);
      }
      for (int i = 0; i < values.length; i++) {
        int k = channel(i);
        double hat = Math.abs(values[i] - mean[k]) * invStd[k];
        double g = Math.abs(gradients[i]);
        xHat[k] = Math.max(xHat[k], hat);
        dyMax[k] = Math.max(dyMax[k], g);
        dySum[k] += g;
        dotSum[k] += g * (1 + hat);
      }
    }

    private int channel(int flat) {
      return flat / spatial % c;
    }

    /** What adding n values one by one may cost. */
    private double sum() {
      return unit * (16 + 2 * Math.sqrt(n));
    }

    void outputs(TorchBatchNorm.Step expected, BatchNorm ours, Tensor y, Tensor dx) {
      double[] yTolerance = new double[c];
      double[] dxTolerance = new double[c];
      double[] dweightTolerance = new double[c];
      double[] dbiasTolerance = new double[c];
      for (int k = 0; k < c; k++) {
        double slack = sum() * (1 + Math.abs(mean[k]) * invStd[k]);
        double weight = Math.abs(w[k]);
        yTolerance[k] = (slack + roundOff) * (weight * (1 + xHat[k]) + Math.abs(b[k]));
        dxTolerance[k] = (slack + roundOff) * weight * invStd[k] * dyMax[k] * (2 + xHat[k]);
        // PyTorch rounds these sums to bf16 on some paths, though the parameters are f32.
        dweightTolerance[k] = (slack + roundOff) * dotSum[k];
        dbiasTolerance[k] = (sum() + roundOff) * dySum[k];
      }
      compare("y", expected.y(), y.toDoubleArray(), yTolerance, spatial);
      compare("dx", expected.dx(), dx.toDoubleArray(), dxTolerance, spatial);
      assertEquals(config.affine, expected.dweight() != null);
      assertEquals(config.affine, ours.weight() != null);
      if (config.affine) {
        double[] dweight = ours.weight().grad().toDoubleArray();
        double[] dbias = ours.bias().grad().toDoubleArray();
        compare("dweight", expected.dweight(), dweight, dweightTolerance, 1);
        compare("dbias", expected.dbias(), dbias, dbiasTolerance, 1);
      }
    }

    void statistics(TorchBatchNorm theirs, BatchNorm ours) {
      double[] meanTolerance = new double[c];
      double[] varTolerance = new double[c];
      double factor = config.momentum == null ? 1 : Math.abs(config.momentum);
      for (int k = 0; k < c; k++) {
        double slack = sum() * (1 + factor);
        meanTolerance[k] = slack * runningMeanScale[k];
        varTolerance[k] = slack * runningVarScale[k];
      }
      assertEquals(config.track, theirs.get("running_mean") != null);
      assertEquals(config.track, ours.runningMean() != null);
      if (config.track) {
        double[] ourMean = ours.runningMean().toDoubleArray();
        double[] ourVar = ours.runningVar().toDoubleArray();
        compare("running_mean", theirs.get("running_mean"), ourMean, meanTolerance, 1);
        compare("running_var", theirs.get("running_var"), ourVar, varTolerance, 1);
        double[] counter = {ours.numBatchesTracked().getLong()};
        assertArrayEquals(theirs.get("num_batches_tracked"), counter, () -> config.toString());
      }
    }

    private void compare(
        String what, double[] expected, double[] actual, double[] tolerance, int spatial) {
      assertEquals(expected.length, actual.length, what);
      for (int i = 0; i < expected.length; i++) {
        int k = i / spatial % c;
        double allowed = tolerance[k];
        int at = i;
        assertTrue(
            // A negative momentum makes running_var negative, and then both give NaN.
            Math.abs(expected[i] - actual[i]) <= allowed
                || Double.isNaN(expected[i]) && Double.isNaN(actual[i]),
            () ->
                config
                    + ", "
                    + step
                    + ": "
                    + what
                    + "["
                    + at
                    + "] is "
                    + actual[at]
                    + ", PyTorch has "
                    + expected[at]
                    + ", a difference of "
                    + Math.abs(actual[at] - expected[at])
                    + " where "
                    + allowed
                    + " is allowed");
      }
    }
  }
}
