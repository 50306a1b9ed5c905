package org.batchnorm4j.io;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import ai.onnx.proto.OnnxMl.AttributeProto;
import ai.onnx.proto.OnnxMl.GraphProto;
import ai.onnx.proto.OnnxMl.ModelProto;
import ai.onnx.proto.OnnxMl.NodeProto;
import ai.onnx.proto.OnnxMl.TensorProto;
import ai.onnx.proto.OnnxMl.TypeProto;
import ai.onnx.proto.OnnxMl.ValueInfoProto;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.OrtSession.SessionOptions;
import java.io.IOException;
import java.io.InputStream;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.ConvOptions;
import org.batchnorm4j.nn.Fusion;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The 35 batch norms of a network that people use, PP-OCR's classifier of upright and upside-down
 * text, at its real activations: ONNX Runtime's outputs and ours.
 */
@DisabledOnOs(
    value = OS.MAC,
    architectures = "x86_64",
    disabledReason = "there is no ONNX Runtime for it")
class RealNetworkTest {
  private static final String MODEL = "/models/ch_ppocr_mobile_v2.0_cls_infer.onnx";

  /** Five by seven pixels a letter. */
  private static final List<String> TEXT =
      List.of(
          "####...###..#####..###..#...#.####.",
          "#...#.#...#...#...#...#.#...#.#...#",
          "#...#.#...#...#...#.....#...#.#...#",
          "####..#####...#...#.....#####.#...#",
          "#...#.#...#...#...#.....#...#.#...#",
          "#...#.#...#...#...#...#.#...#.#...#",
          "####..#...#...#....###..#...#.#...#");

  private static final int HEIGHT = 48;
  private static final int WIDTH = 192;

  @TempDir static Path dir;
  private static List<OnnxBatchNorm> batchNorms;
  private static final Map<String, Tensor> values = new HashMap<>();
  private static final Map<String, NodeProto> producers = new HashMap<>();
  private static final Map<String, TensorProto> constants = new HashMap<>();
  private static float[] probabilities;

  @BeforeAll
  static void run() throws IOException, OrtException {
    byte[] bytes;
    try (InputStream in = RealNetworkTest.class.getResourceAsStream(MODEL)) {
      bytes = in.readAllBytes();
    }
    Path file = Files.write(dir.resolve("cls.onnx"), bytes);
    batchNorms = OnnxBatchNorm.read(file);
    ModelProto.Builder model = ModelProto.parseFrom(bytes).toBuilder();
    String answer = model.getGraph().getOutput(0).getName();
    Set<String> inner = expose(model.getGraphBuilder());
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    try (SessionOptions options = new SessionOptions()) {
      // Otherwise it folds the batch norms into the convolutions.
      options.setOptimizationLevel(SessionOptions.OptLevel.NO_OPT);
      options.setIntraOpNumThreads(1);
      try (OrtSession session = environment.createSession(model.build().toByteArray(), options);
          OnnxTensor image =
              OnnxTensor.createTensor(
                  environment, FloatBuffer.wrap(image()), new long[] {2, 3, HEIGHT, WIDTH});
          OrtSession.Result result =
              session.run(Map.of(session.getInputNames().iterator().next(), image))) {
        values.put(
            session.getInputNames().iterator().next(), Tensor.of(image(), 2, 3, HEIGHT, WIDTH));
        probabilities = ((OnnxTensor) result.get(answer).orElseThrow()).getFloatBuffer().array();
        for (String name : inner) {
          OnnxTensor t = (OnnxTensor) result.get(name).orElseThrow();
          values.put(name, Tensor.of(t.getFloatBuffer().array(), t.getInfo().getShape()));
        }
      }
    }
  }

  @AfterAll
  static void close() {
    values.values().forEach(Tensor::close);
  }

  /** Makes input and output of every batch norm, and of what is before it, outputs. */
  private static Set<String> expose(GraphProto.Builder graph) {
    for (NodeProto node : graph.getNodeList()) {
      node.getOutputList().forEach(name -> producers.put(name, node));
      if (node.getOpType().equals("Constant")) {
        constants.put(node.getOutput(0), node.getAttribute(0).getT());
      }
    }
    Set<String> names = new LinkedHashSet<>();
    for (NodeProto node : graph.getNodeList()) {
      if (node.getOpType().equals("BatchNormalization")) {
        names.add(node.getInput(0));
        names.add(node.getOutput(0));
        names.add(producers.get(node.getInput(0)).getInput(0));
      }
    }
    names.remove(graph.getInput(0).getName());
    TypeProto type =
        TypeProto.newBuilder().setTensorType(TypeProto.Tensor.newBuilder().setElemType(1)).build();
    for (String name : names) {
      graph.addOutput(ValueInfoProto.newBuilder().setName(name).setType(type));
    }
    return names;
  }

  /** A line of text, upright and upside down, black on white, scaled as the network wants it. */
  private static float[] image() {
    float[] pixels = new float[2 * 3 * HEIGHT * WIDTH];
    int plane = HEIGHT * WIDTH;
    for (int i = 0; i < plane; i++) {
      int row = (i / WIDTH - 6) / 5;
      int column = (i % WIDTH - 9) / 5;
      boolean inside =
          i / WIDTH >= 6 && i % WIDTH >= 9 && row < TEXT.size() && column < TEXT.get(0).length();
      float v = inside && TEXT.get(row).charAt(column) == '#' ? -1 : 1;
      for (int channel = 0; channel < 3; channel++) {
        pixels[channel * plane + i] = v;
        pixels[(3 + channel) * plane + plane - 1 - i] = v;
      }
    }
    return pixels;
  }

  @Test
  void theNetworkIsTheOneWeThinkItIs() {
    assertEquals(35, batchNorms.size());
    assertEquals(2136, batchNorms.stream().mapToInt(OnnxBatchNorm::numFeatures).sum());
    for (OnnxBatchNorm bn : batchNorms) {
      assertEquals(1e-5, bn.eps());
      assertEquals(0.1, bn.momentum());
    }
    // Of each image: the probability of upright and of upside down.
    assertTrue(probabilities[0] > 0.5, "upright: " + probabilities[0]);
    assertTrue(probabilities[3] > 0.5, "upside down: " + probabilities[3]);
  }

  @ParameterizedTest
  @MethodSource("org.batchnorm4j.TestBackends#all")
  void everyBatchNormEqualsOnnxRuntime(BatchNormBackend backend) {
    for (OnnxBatchNorm node : batchNorms) {
      try (BatchNorm2d bn = node.toBatchNorm2d()) {
        bn.backend(backend);
        Tensor x = values.get(node.input());
        Tensor expected = values.get(node.output());
        check(node, expected, bn.forward(x), 2e-6);
        try (Tensor last = x.to(MemoryFormat.CHANNELS_LAST)) {
          check(node, expected, bn.forward(last), 2e-6);
        }
      }
    }
  }

  /** Every convolution with its batch norm folded in, on its real input. */
  @Test
  void everyFoldedConvolutionEqualsOnnxRuntime() throws IOException {
    int folded = 0;
    for (OnnxBatchNorm node : batchNorms) {
      NodeProto conv = producers.get(node.input());
      if (conv == null || !conv.getOpType().equals("Conv")) {
        continue;
      }
      try (Conv2d plain = conv2d(conv);
          BatchNorm2d bn = node.toBatchNorm2d();
          Conv2d both = Fusion.fuseConvBatchNorm(plain, bn)) {
        Tensor y = both.forward(values.get(conv.getInput(0)));
        check(node, values.get(node.output()), y, 2e-5);
        folded++;
      }
    }
    assertEquals(35, folded);
  }

  private static Conv2d conv2d(NodeProto node) {
    assertEquals(2, node.getInputCount(), "a bias");
    TensorProto weight = constants.get(node.getInput(1));
    Map<String, List<Long>> a = new HashMap<>();
    for (AttributeProto attribute : node.getAttributeList()) {
      a.put(attribute.getName(), attribute.getIntsList());
      if (attribute.getName().equals("group")) {
        a.put("group", List.of(attribute.getI()));
      }
    }
    List<Long> pads = a.get("pads");
    assertEquals(pads.subList(0, 2), pads.subList(2, 4));
    assertEquals(List.of(1L, 1L), a.get("dilations"));
    int groups = (int) (long) a.get("group").get(0);
    Conv2d conv =
        new Conv2d(
            (int) weight.getDims(1) * groups,
            (int) weight.getDims(0),
            ConvOptions.kernel((int) weight.getDims(2), (int) weight.getDims(3))
                .stride((int) (long) a.get("strides").get(0), (int) (long) a.get("strides").get(1))
                .padding((int) (long) pads.get(0), (int) (long) pads.get(1))
                .groups(groups)
                .bias(false));
    float[] w = new float[(int) conv.weight().value().size()];
    for (int i = 0; i < w.length; i++) {
      w[i] = weight.getFloatData(i);
    }
    conv.weight().value().copyFrom(w);
    conv.eval();
    return conv;
  }

  private static void check(OnnxBatchNorm node, Tensor expected, Tensor actual, double tolerance) {
    float[] b = expected.toFloatArray();
    float[] a = actual.toFloatArray();
    assertEquals(b.length, a.length);
    for (int i = 0; i < b.length; i++) {
      if (!(Math.abs(a[i] - b[i]) <= tolerance + tolerance * Math.abs(b[i]))) {
        fail(node + " at " + i + ": ONNX Runtime " + b[i] + ", we " + a[i]);
      }
    }
  }
}
