package org.batchnorm4j.nn.functional;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Literal values from the tests of other projects; see the README beside them. */
class CorpusTest {
  private static final String RECENTRED =
      "libnd4j centres x by its own mean, not by the mean it is given";
  private static final String ZERO_EPS = "eps = 0 in training, which PyTorch refuses";

  /** Every case that is not batch norm by PyTorch's rules, and why. */
  private static final Map<String, String> OTHER_RULES =
      Map.ofEntries(
          Map.entry("torch_layer_norm_eps", "layer norm: see normsOfEachSample"),
          Map.entry(
              "ort_cpu_training_opset9_14_15_biased_running_var",
              "ONNX: running_var takes the biased variance"),
          Map.entry(
              "xla_training_large_inputs_cancellation",
              "of a mean rounded to f32, which is not the mean; see keepsTheMeanOfLargeInputs"),
          Map.entry("libnd4j_batchnorm_bp_test2", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test3", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test4", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test5", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test6", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test7", RECENTRED),
          Map.entry("libnd4j_batchnorm_bp_test8", RECENTRED));

  /** Cases that PyTorch, and we, answer with an error. */
  private static final Map<String, String> REFUSED =
      Map.of(
          "stablehlo_batch_norm_training", ZERO_EPS,
          "ngraph_training_0eps_test_mean_variance", ZERO_EPS,
          "ngraph_training_0eps_test_gamma_beta", ZERO_EPS,
          "xla_negative_epsilon", "eps = -100");

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void literalValues(BatchNormBackend backend) {
    Set<String> ran = new TreeSet<>();
    Set<String> left = new TreeSet<>();
    for (JsonObject c : cases()) {
      String id = c.get("id").getAsString();
      if (OTHER_RULES.containsKey(id)) {
        left.add(id);
        continue;
      }
      ran.add(id);
      for (DType dtype : types(c.get("dtype").getAsString())) {
        for (MemoryFormat format : MemoryFormat.values()) {
          Case one = new Case(c, id, dtype, format, backend);
          if (REFUSED.containsKey(id)) {
            String message = assertThrows(IllegalArgumentException.class, one::run).getMessage();
            assertTrue(message.startsWith("batch_norm eps must be positive"), message);
          } else {
            one.run();
          }
        }
      }
    }
    assertEquals(OTHER_RULES.keySet(), left);
    assertEquals(65, ran.size());
    assertTrue(ran.containsAll(REFUSED.keySet()));
  }

  /** The origin's type, and f64, in which nothing but the literals' own precision is in the way. */
  private static List<DType> types(String dtype) {
    return switch (dtype) {
      case "float32", "float32+float64" -> List.of(DType.F32, DType.F64);
      case "float64" -> List.of(DType.F64);
      case "float16 (all)" -> List.of(DType.F16, DType.F64);
      case "bfloat16 x/y, float32 params" -> List.of(DType.BF16, DType.F64);
      default -> throw new AssertionError("unknown dtype " + dtype);
    };
  }

  /** PyTorch's cases of instance norm and layer norm by the functions of these names. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void normsOfEachSample(BatchNormBackend backend) {
    int ran = 0;
    for (JsonObject c : cases()) {
      String mode = c.get("mode").getAsString();
      if (!mode.equals("instance_norm") && !mode.equals("layer_norm")) {
        continue;
      }
      ran++;
      JsonObject inputs = c.getAsJsonObject("inputs");
      JsonObject input = inputs.getAsJsonObject("x");
      float eps = c.get("eps").getAsFloat();
      Tensor x = Tensor.zeros(longs(input.get("shape"))).copyFrom(doubles(input.get("data")));
      Tensor y = Tensor.zerosLike(x);
      if (mode.equals("instance_norm")) {
        long rows = x.shape().dim(0) * x.shape().dim(1);
        SavedStatistics saved = SavedStatistics.allocate(DType.F32, rows);
        SampleNormFunctions.instanceNorm(x, null, null, null, null, 0, eps, backend, saved, y);
      } else {
        Shape last = Shape.of(longs(inputs.get("normalized_shape")));
        SavedStatistics saved = SavedStatistics.allocate(DType.F32, x.size() / last.size());
        SampleNormFunctions.layerNorm(x, last, null, null, eps, backend, saved, y);
      }
      double[] expected = doubles(c.getAsJsonObject("expected").getAsJsonObject("y").get("data"));
      // The literals have four decimals; the layer norm is of constant rows, and exact.
      double tolerance = mode.equals("instance_norm") ? 5e-5 : 0;
      assertArrayEquals(expected, y.toDoubleArray(), tolerance, c.get("id").getAsString());
    }
    assertEquals(4, ran);
  }

  /** XLA's (1e7, 1e7 + 1): the mean lies halfway between two floats, and the variance is 1/4. */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void keepsTheMeanOfLargeInputs(BatchNormBackend backend) {
    Tensor x = Tensor.of(new float[] {1e7f, 1e7f + 1}, 2, 1);
    Tensor mean = Tensor.zeros(1);
    Tensor var = Tensor.zeros(1);
    SavedStatistics saved = SavedStatistics.allocate(DType.F32, 1);
    Tensor y = Tensor.zeros(2, 1);
    BatchNormFunctions.batchNormTraining(
        x, null, mean, var, null, null, 1, 0.001, Activation.NONE, backend, saved, y);
    float expected = (float) (0.5 / Math.sqrt(0.25 + 0.001));
    assertArrayEquals(new float[] {-expected, expected}, y.toFloatArray(), 2e-7f);
    assertEquals(0.5, var.get(0));
    assertEquals(1e7, mean.get(0));
  }

  /**
   * oneDNN's exact data: pairs m(1 + f), m(1 - f) with few bits, so that mean and variance are
   * exact in f32 and no tolerance is needed.
   */
  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void exactStatistics(BatchNormBackend backend) {
    int ran = 0;
    for (JsonElement entry : parse("onednn-shapes.json").getAsJsonArray()) {
      long[] dims = longs(entry.getAsJsonObject().get("shape"));
      Shape shape = Shape.of(dims);
      int c = (int) dims[1];
      int n = (int) (shape.size() / c);
      if (shape.size() > 300_000 || n == 1) {
        continue;
      }
      ran++;
      int spatial = n / (int) dims[0];
      float[] values = new float[(int) shape.size()];
      double[] exactVar = new double[c];
      float[] exactMean = new float[c];
      Random random = new Random(1);
      for (int k = 0; k < c; k++) {
        float m = 0.25f * (1 << k % 7);
        exactMean[k] = m;
        float f = 0;
        for (int i = 0; i < n; i++) {
          f = i % 2 == 1 ? -f : i == n - 1 ? 0 : (random.nextInt(63) - 31) / 32f;
          values[(i / spatial * c + k) * spatial + i % spatial] = m * (1 + f);
          exactVar[k] += (double) (m * f) * (m * f);
        }
      }
      for (MemoryFormat format : MemoryFormat.values()) {
        Tensor x = Tensor.zeros(DType.F32, format, shape).copyFrom(values);
        Tensor mean = Tensor.zeros(c);
        Tensor var = Tensor.zeros(c);
        SavedStatistics saved = SavedStatistics.allocate(DType.F32, c);
        BatchNormFunctions.batchNormTraining(
            x, null, mean, var, null, null, 1, 1e-5, Activation.NONE, backend, saved, x);
        assertArrayEquals(exactMean, mean.toFloatArray(), () -> "mean of " + entry + format);
        double[] got = var.toDoubleArray();
        for (int k = 0; k < c; k++) {
          double expected = exactVar[k] / (n - 1);
          assertEquals(expected, got[k], 0x1p-24 * expected, "variance of " + entry + format);
        }
      }
    }
    assertEquals(13, ran);
  }

  /** The shapes among oneDNN's that have one value per channel. */
  @Test
  void oneValuePerChannel() {
    List<String> refused = new ArrayList<>();
    for (JsonElement entry : parse("onednn-shapes.json").getAsJsonArray()) {
      Shape shape = Shape.of(longs(entry.getAsJsonObject().get("shape")));
      if (shape.size() == shape.dim(1)) {
        Tensor x = Tensor.zeros(shape.toArray());
        SavedStatistics saved = SavedStatistics.allocate(DType.F32, shape.dim(1));
        String message =
            assertThrows(
                    IllegalArgumentException.class,
                    () ->
                        BatchNormFunctions.batchNormTraining(
                            x, null, null, null, null, 0.1, 1e-5, saved, x))
                .getMessage();
        assertEquals(
            "Expected more than 1 value per channel when training, got input size torch.Size("
                + shape
                + ")",
            message);
        refused.add(entry.getAsJsonObject().get("name").getAsString());
      }
    }
    assertEquals(List.of("bnorm1d:1", "bnorm_2d:1", "bnorm_2d:2"), refused);
  }

  /** One case in one type and memory format on one backend. */
  private static final class Case {
    private final JsonObject json;
    private final String id;
    private final DType dtype;
    private final MemoryFormat format;
    private final BatchNormBackend backend;
    private final JsonObject inputs;
    private final int[] permutation;
    private final int channelAxes;
    private final Tensor x;

    Case(JsonObject json, String id, DType dtype, MemoryFormat format, BatchNormBackend backend) {
      this.json = json;
      this.id = id;
      this.dtype = dtype;
      this.format = format;
      this.backend = backend;
      inputs = json.getAsJsonObject("inputs");
      List<Integer> channels = new ArrayList<>();
      if (json.get("mode").getAsString().equals("instance_norm")) {
        // Instance norm is batch norm with a channel for each channel of each sample.
        channels.addAll(List.of(0, 1));
      } else if (json.has("channel_axes")) {
        json.getAsJsonArray("channel_axes").forEach(axis -> channels.add(axis.getAsInt()));
      } else {
        channels.add(json.get("channel_axis").getAsInt());
      }
      int rank = inputs.getAsJsonObject("x").getAsJsonArray("shape").size();
      List<Integer> order = new ArrayList<>();
      for (int i = 0; i < rank; i++) {
        if (!channels.contains(i)) {
          order.add(i);
        }
      }
      order.addAll(Math.min(1, order.size()), channels);
      permutation = order.stream().mapToInt(Integer::intValue).toArray();
      channelAxes = channels.size();
      x = data(inputs.getAsJsonObject("x"), dtype);
    }

    void run() {
      double eps = json.get("eps").getAsDouble();
      Tensor weight = perChannel("weight");
      Tensor bias = perChannel("bias");
      Tensor runningMean = perChannel("running_mean");
      Tensor runningVar = perChannel("running_var");
      Tensor y = Tensor.zerosLike(x);
      long c = x.shape().dim(1);
      SavedStatistics saved = SavedStatistics.allocate(dtype.parameterType(), c);
      String mode = json.get("mode").getAsString();
      boolean given = inputs.has("save_mean");
      if (mode.equals("eval")) {
        BatchNormFunctions.batchNormInference(
            x, null, runningMean, runningVar, weight, bias, eps, Activation.NONE, backend, y);
      } else if (given) {
        saved.mean().copyFrom(perChannel("save_mean"));
        double[] var = doubles(inputs.getAsJsonObject("save_var").get("data"));
        saved.invStd().copyFrom(Arrays.stream(var).map(v -> 1 / Math.sqrt(v + eps)).toArray());
      } else {
        double momentum = json.has("momentum") ? json.get("momentum").getAsDouble() : 0.1;
        boolean keep =
            json.has("momentum_convention")
                && json.get("momentum_convention").getAsString().equals("keep");
        BatchNormFunctions.batchNormTraining(
            x,
            null,
            runningMean,
            runningVar,
            weight,
            bias,
            keep ? 1 - momentum : momentum,
            eps,
            Activation.NONE,
            backend,
            saved,
            y);
        double[] low = saved.meanLow().toDoubleArray();
        double[] mean = saved.mean().toDoubleArray();
        double[] invStd = saved.invStd().toDoubleArray();
        for (int k = 0; k < c; k++) {
          mean[k] += low[k];
        }
        check("batch_mean", mean);
        check("batch_invstd", invStd);
        check("batch_var", Arrays.stream(invStd).map(s -> 1 / (s * s) - eps).toArray());
        check("running_mean", runningMean);
        check("running_var", runningVar);
      }
      if (!given) {
        check("y", y);
      }
      if (inputs.has("grad_output")) {
        Tensor dy = data(inputs.getAsJsonObject("grad_output"), dtype);
        Tensor dweight = Tensor.zeros(dtype.parameterType(), c);
        Tensor dbias = Tensor.zeros(dtype.parameterType(), c);
        Tensor dx = Tensor.zerosLike(x);
        BatchNormFunctions.batchNormBackwardTraining(
            dy, x, null, weight, bias, saved, Activation.NONE, backend, dx, null, dweight, dbias);
        check("grad_input", dx);
        check("grad_weight", dweight);
        check("grad_bias", dbias);
      }
    }

    private @Nullable Tensor perChannel(String name) {
      if (!inputs.has(name)) {
        return null;
      }
      double[] values = doubles(inputs.getAsJsonObject(name).get("data"));
      return Tensor.zeros(dtype.parameterType(), values.length).copyFrom(values);
    }

    /** A tensor of x's shape, its channels moved to dimension 1. */
    private Tensor data(JsonObject tensor, DType type) {
      long[] from = longs(tensor.get("shape"));
      double[] values = doubles(tensor.get("data"));
      int rank = from.length;
      long[] strides = new long[rank];
      long stride = 1;
      for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= from[i];
      }
      double[] moved = new double[values.length];
      for (int i = 0; i < moved.length; i++) {
        long rest = i;
        long at = 0;
        for (int j = rank - 1; j >= 0; j--) {
          int axis = permutation[j];
          at += rest % from[axis] * strides[axis];
          rest /= from[axis];
        }
        moved[i] = values[(int) at];
      }
      // Without an axis for samples there is one.
      boolean samples = channelAxes < rank;
      long[] to = new long[samples ? rank - channelAxes + 1 : 2];
      to[0] = samples ? from[permutation[0]] : 1;
      to[1] = 1;
      for (int j = 0; j < channelAxes; j++) {
        to[1] *= from[permutation[j + (samples ? 1 : 0)]];
      }
      for (int j = 2; j < to.length; j++) {
        to[j] = from[permutation[j + channelAxes - 1]];
      }
      return Tensor.zeros(type, format, Shape.of(to)).copyFrom(moved);
    }

    private void check(String name, @Nullable Tensor got) {
      if (got != null) {
        check(name, got.toDoubleArray());
      }
    }

    private void check(String name, double[] got) {
      JsonObject expected = json.getAsJsonObject("expected");
      if (!expected.has(name)) {
        return;
      }
      JsonObject tensor = expected.getAsJsonObject(name);
      boolean perChannel = tensor.getAsJsonArray("shape").size() == 1;
      double[] values =
          perChannel ? doubles(tensor.get("data")) : data(tensor, DType.F64).toDoubleArray();
      double literal = 0;
      JsonObject verified = json.getAsJsonObject("verified_max_abs_err");
      if (verified != null && verified.has(name)) {
        literal = verified.get(name).getAsDouble();
      }
      double unit =
          switch (dtype) {
            case F64 -> 0x1p-53;
            case F16 -> 0x1p-11;
            case BF16 -> 0x1p-8;
            default -> 0x1p-24;
          };
      double largest = max(values);
      if (name.startsWith("grad_")) {
        // A gradient is a difference of sums, which may be 0 where the sums are not.
        double[] dy = doubles(inputs.getAsJsonObject("grad_output").get("data"));
        largest += max(dy) * dy.length / x.shape().dim(1);
      }
      // The literal's error is printed to three digits. 32 units: x and the parameters are literals
      // too, rounded to the type, and some means are several standard deviations away.
      double allowed = 1.01 * literal + 32 * unit * (1 + largest);
      assertArrayEquals(
          values, got, allowed, () -> id + " in " + dtype + ", " + format + ": " + name);
    }

    private static double max(double[] values) {
      return Arrays.stream(values).map(Math::abs).max().orElse(0);
    }
  }

  private static List<JsonObject> cases() {
    List<JsonObject> all = new ArrayList<>();
    for (String file : List.of("pytorch.json", "others.json")) {
      JsonArray cases = parse(file).getAsJsonObject().getAsJsonArray("cases");
      cases.forEach(c -> all.add(c.getAsJsonObject()));
    }
    return all;
  }

  private static JsonElement parse(String file) {
    try (Reader in =
        new InputStreamReader(
            CorpusTest.class.getResourceAsStream("/corpus/" + file), StandardCharsets.UTF_8)) {
      return JsonParser.parseReader(in);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static long[] longs(JsonElement array) {
    return array.getAsJsonArray().asList().stream().mapToLong(JsonElement::getAsLong).toArray();
  }

  private static double[] doubles(JsonElement array) {
    return array.getAsJsonArray().asList().stream().mapToDouble(JsonElement::getAsDouble).toArray();
  }
}
