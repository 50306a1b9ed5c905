package org.batchnorm4j.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.onnx.proto.OnnxMl.AttributeProto;
import ai.onnx.proto.OnnxMl.FunctionProto;
import ai.onnx.proto.OnnxMl.GraphProto;
import ai.onnx.proto.OnnxMl.ModelProto;
import ai.onnx.proto.OnnxMl.NodeProto;
import ai.onnx.proto.OnnxMl.TensorProto;
import com.google.protobuf.ByteString;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.batchnorm4j.nn.BatchNorm;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Half;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Models are made by the classes that protoc made of onnx.proto, so that nobody here wrote both
 * ends.
 */
class OnnxBatchNormTest {
  @TempDir Path dir;

  private static final int FLOAT = 1;
  private static final int FLOAT16 = 10;
  private static final int DOUBLE = 11;
  private static final int BFLOAT16 = 16;

  private static TensorProto floats(String name, float... values) {
    TensorProto.Builder t = TensorProto.newBuilder().setName(name).setDataType(FLOAT);
    t.addDims(values.length);
    for (float v : values) {
      t.addFloatData(v);
    }
    return t.build();
  }

  private static TensorProto raw(String name, int type, int width, double... values) {
    ByteBuffer bytes = ByteBuffer.allocate(width * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (double v : values) {
      switch (type) {
        case FLOAT -> bytes.putFloat((float) v);
        case DOUBLE -> bytes.putDouble(v);
        case FLOAT16 -> bytes.putShort(Half.toF16((float) v));
        default -> bytes.putShort(Half.toBf16((float) v));
      }
    }
    return TensorProto.newBuilder()
        .setName(name)
        .setDataType(type)
        .addDims(values.length)
        .setRawData(ByteString.copyFrom(bytes.array()))
        .build();
  }

  private static NodeProto.Builder node(String type, String output, String... inputs) {
    return NodeProto.newBuilder().setOpType(type).addAllInput(List.of(inputs)).addOutput(output);
  }

  private static NodeProto.Builder batchNorm(String name) {
    return node("BatchNormalization", "y", "x", "scale", "B", "mean", "var").setName(name);
  }

  private static AttributeProto attribute(String name, float value) {
    return AttributeProto.newBuilder()
        .setName(name)
        .setF(value)
        .setType(AttributeProto.AttributeType.FLOAT)
        .build();
  }

  private static GraphProto.Builder parameters(GraphProto.Builder graph) {
    return graph
        .addInitializer(floats("scale", 1, -2, 0.5f))
        .addInitializer(raw("B", FLOAT, 4, 4, 5, 6))
        .addInitializer(floats("mean", 7, 8, 9))
        .addInitializer(raw("var", FLOAT, 4, 0.25, 1e-30, 3));
  }

  private Path model(GraphProto graph) throws IOException {
    ModelProto model = ModelProto.newBuilder().setIrVersion(8).setGraph(graph).build();
    return Files.write(dir.resolve("m.onnx"), model.toByteArray());
  }

  private List<OnnxBatchNorm> read(Consumer<GraphProto.Builder> content) throws IOException {
    GraphProto.Builder graph = GraphProto.newBuilder().setName("g");
    content.accept(graph);
    return OnnxBatchNorm.read(model(graph.build()));
  }

  // ------------------------------------------------------------------------------------ good files

  @Test
  void readsInitializersAndConvertsMomentum() throws IOException {
    List<OnnxBatchNorm> all =
        read(
            g ->
                parameters(g)
                    .addNode(node("Relu", "x", "input"))
                    .addNode(
                        batchNorm("first")
                            .addAttribute(attribute("epsilon", 1e-3f))
                            .addAttribute(attribute("momentum", 0.99f)))
                    .addNode(batchNorm("second")));
    assertEquals(2, all.size());
    OnnxBatchNorm bn = all.get(0);
    assertEquals("first", bn.name());
    assertEquals("x", bn.input());
    assertEquals("y", bn.output());
    assertEquals(3, bn.numFeatures());
    assertEquals(DType.F32, bn.dtype());
    assertEquals(0.001, bn.eps());
    assertEquals(0.01, bn.momentum());
    assertArrayEquals(new double[] {1, -2, 0.5}, bn.weight());
    assertArrayEquals(new double[] {4, 5, 6}, bn.bias());
    assertArrayEquals(new double[] {7, 8, 9}, bn.runningMean());
    assertArrayEquals(new double[] {0.25, 1e-30f, 3}, bn.runningVar());
    assertEquals("OnnxBatchNorm(first: x -> y, 3 channels, eps=0.001, momentum=0.01)", "" + bn);
    bn.weight()[0] = 99;
    assertEquals(1, bn.weight()[0]);

    // ONNX's defaults.
    assertEquals(1e-5, all.get(1).eps());
    assertEquals(0.1, all.get(1).momentum());

    BatchNorm2d module = bn.toBatchNorm2d();
    assertFalse(module.isTraining());
    assertEquals(
        "BatchNorm2d(3, eps=0.001, momentum=0.01, affine=True, track_running_stats=True)",
        module.toString());
    assertArrayEquals(new float[] {1, -2, 0.5f}, module.weight().value().toFloatArray());
    assertArrayEquals(new float[] {4, 5, 6}, module.bias().value().toFloatArray());
    assertArrayEquals(new float[] {7, 8, 9}, module.runningMean().toFloatArray());
    assertArrayEquals(new float[] {0.25f, 1e-30f, 3}, module.runningVar().toFloatArray());
    for (BatchNorm other : List.of(bn.toBatchNorm1d(), bn.toBatchNorm3d())) {
      assertArrayEquals(new float[] {7, 8, 9}, other.runningMean().toFloatArray());
    }
  }

  @Test
  void readsConstantNodesAndIdentities() throws IOException {
    List<OnnxBatchNorm> all =
        read(
            g -> {
              // The node may come before its constants, and those in any order of fields.
              g.addNode(batchNorm("bn"));
              for (TensorProto t : parameters(GraphProto.newBuilder()).getInitializerList()) {
                AttributeProto value =
                    AttributeProto.newBuilder()
                        .setName("value")
                        .setT(t)
                        .setType(AttributeProto.AttributeType.TENSOR)
                        .build();
                g.addNode(node("Constant", t.getName() + "_").addAttribute(value));
                g.addNode(node("Identity", t.getName(), t.getName() + "_"));
              }
            });
    assertArrayEquals(new double[] {7, 8, 9}, all.get(0).runningMean());
  }

  @Test
  void readsEveryTypeRawAndAsNumbers() throws IOException {
    TensorProto.Builder doubles = TensorProto.newBuilder().setName("mean").setDataType(DOUBLE);
    doubles.addDims(2).addDoubleData(1 / 3.0).addDoubleData(-1e300);
    TensorProto.Builder halves = TensorProto.newBuilder().setName("B").setDataType(FLOAT16);
    halves.addDims(2).addInt32Data(Half.toF16(-1.5f) & 0xffff).addInt32Data(Half.toF16(3));
    OnnxBatchNorm bn =
        read(g ->
                g.addInitializer(raw("scale", BFLOAT16, 2, 1.5, -3))
                    .addInitializer(halves)
                    .addInitializer(doubles)
                    .addInitializer(raw("var", DOUBLE, 8, 1 / 7.0, 1e-300))
                    .addNode(batchNorm("bn")))
            .get(0);
    assertEquals(DType.F64, bn.dtype());
    assertArrayEquals(new double[] {1.5, -3}, bn.weight());
    assertArrayEquals(new double[] {-1.5, 3}, bn.bias());
    assertArrayEquals(new double[] {1 / 3.0, -1e300}, bn.runningMean());
    assertArrayEquals(new double[] {1 / 7.0, 1e-300}, bn.runningVar());
    assertEquals(1 / 7.0, bn.toBatchNorm2d().runningVar().get(0));
    TensorProto.Builder brains = TensorProto.newBuilder().setName("scale").setDataType(BFLOAT16);
    brains.addDims(1).addInt32Data(Half.toBf16(-1.5f) & 0xffff);
    OnnxBatchNorm half =
        read(g ->
                g.addInitializer(brains)
                    .addInitializer(raw("B", FLOAT16, 2, 65504))
                    .addInitializer(raw("mean", FLOAT16, 2, 1))
                    .addInitializer(raw("var", FLOAT16, 2, 2))
                    .addNode(batchNorm("bn")))
            .get(0);
    assertEquals(DType.F32, half.dtype());
    assertArrayEquals(new double[] {-1.5}, half.weight());
    assertArrayEquals(new double[] {65504}, half.bias());
  }

  @Test
  void readsSubgraphsEachWithItsOwnNames() throws IOException {
    GraphProto thenBranch =
        GraphProto.newBuilder()
            .addInitializer(floats("scale", 10, 20, 30))
            .addNode(batchNorm("then"))
            .build();
    GraphProto elseBranch = GraphProto.newBuilder().addNode(batchNorm("else")).build();
    List<OnnxBatchNorm> all =
        read(
            g ->
                parameters(g)
                    .addNode(
                        node("If", "z", "condition")
                            .addAttribute(
                                AttributeProto.newBuilder().setName("then_branch").setG(thenBranch))
                            .addAttribute(
                                AttributeProto.newBuilder()
                                    .setName("else_branch")
                                    .setG(elseBranch))));
    assertArrayEquals(new double[] {10, 20, 30}, all.get(0).weight());
    assertArrayEquals(new double[] {1, -2, 0.5}, all.get(1).weight());
    assertArrayEquals(new double[] {4, 5, 6}, all.get(0).bias());
  }

  /** A Constant may hold a list of floats instead of a tensor. */
  @Test
  void readsConstantsOfFloats() throws IOException {
    List<OnnxBatchNorm> all =
        read(
            g -> {
              for (String name : List.of("scale", "B", "mean", "var")) {
                AttributeProto.Builder floats =
                    AttributeProto.newBuilder()
                        .setName("value_floats")
                        .setType(AttributeProto.AttributeType.FLOATS)
                        .addFloats(name.length())
                        .addFloats(-0.5f);
                g.addNode(node("Constant", name).addAttribute(floats));
              }
              g.addNode(batchNorm("bn"));
            });
    assertArrayEquals(new double[] {5, -0.5}, all.get(0).weight());
    assertArrayEquals(new double[] {1, -0.5}, all.get(0).bias());
    assertArrayEquals(new double[] {3, -0.5}, all.get(0).runningVar());
    refused(
        "node \"bn\": scale \"scale\": has 0 values, expected at least one",
        g -> {
          AttributeProto.Builder none = AttributeProto.newBuilder().setName("value_floats");
          g.addNode(node("Constant", "scale").addAttribute(none)).addNode(batchNorm("bn"));
        });
  }

  /** What a function is given is not known, what it holds itself is. */
  @Test
  void readsFunctions() throws IOException {
    FunctionProto.Builder function = FunctionProto.newBuilder().setName("f");
    for (TensorProto t : parameters(GraphProto.newBuilder()).getInitializerList()) {
      AttributeProto.Builder value = AttributeProto.newBuilder().setName("value").setT(t);
      function.addNode(node("Constant", t.getName()).addAttribute(value));
    }
    ModelProto.Builder model = ModelProto.newBuilder().setGraph(GraphProto.newBuilder());
    model.addFunctions(function.addNode(batchNorm("inner")));
    Path file = Files.write(dir.resolve("m.onnx"), model.build().toByteArray());
    OnnxBatchNorm bn = OnnxBatchNorm.read(file).get(0);
    assertEquals("inner", bn.name());
    assertArrayEquals(new double[] {7, 8, 9}, bn.runningMean());

    function.clearNode().addInput("scale").addNode(batchNorm("inner"));
    Files.write(file, model.setFunctions(0, function).build().toByteArray());
    assertMessage(
        file,
        ": node \"inner\": scale \"scale\": is neither an initializer nor a Constant: its values are"
            + " not in the file");
  }

  @Test
  void otherDomainsAreNotOurs() throws IOException {
    assertEquals(List.of(), read(g -> g.addNode(batchNorm("bn").setDomain("com.example"))));
    assertEquals(List.of(), read(g -> g.addNode(node("Relu", "y", "x"))));
  }

  // ------------------------------------------------------------------------------------- bad files

  private void refused(String message, Consumer<GraphProto.Builder> content) {
    IOException e = assertThrows(IOException.class, () -> read(content));
    assertEquals(dir.resolve("m.onnx") + ": " + message, e.getMessage());
  }

  private static GraphProto.Builder with(GraphProto.Builder g, int index, TensorProto.Builder t) {
    return parameters(g).setInitializer(index, t).addNode(batchNorm("bn"));
  }

  @Test
  void errorsNameNodeAndInput() {
    refused(
        "node \"bn\": scale \"scale\": is neither an initializer nor a Constant: its values are not"
            + " in the file",
        g -> g.addNode(batchNorm("bn")));
    refused(
        "node \"y\": has 2 inputs, BatchNormalization has 5",
        g -> g.addNode(node("BatchNormalization", "y", "x", "scale")));
    refused(
        "node \"bn\": B \"B\": has 2 values, expected one for each of 3 channels",
        g -> with(g, 1, floats("B", 1, 2).toBuilder()));
    refused(
        "node \"bn\": scale \"scale\": has 0 values, expected at least one",
        g -> with(g, 0, floats("scale").toBuilder()));
    refused(
        "node \"bn\": mean \"mean\": dims are [1000000000], but 3 values are there",
        g -> with(g, 2, floats("mean", 1, 2, 3).toBuilder().setDims(0, 1_000_000_000)));
    refused(
        "node \"bn\": var \"var\": dims are [-3], but 3 values are there",
        g -> with(g, 3, raw("var", FLOAT, 4, 1, 2, 3).toBuilder().setDims(0, -3)));
    refused(
        "node \"bn\": var \"var\": dims are [3, 1], expected one dimension",
        g -> with(g, 3, raw("var", FLOAT, 4, 1, 2, 3).toBuilder().addDims(1)));
    refused(
        "node \"bn\": B \"B\": dims are [3], but 3 values are there",
        g ->
            with(
                g,
                1,
                TensorProto.newBuilder()
                    .setName("B")
                    .setDataType(FLOAT)
                    .addDims(3)
                    .setRawData(ByteString.copyFrom(new byte[13]))));
    refused(
        "node \"bn\": B \"B\": data_type is 7, expected FLOAT, DOUBLE, FLOAT16 or BFLOAT16",
        g -> with(g, 1, floats("B", 1, 2, 3).toBuilder().setDataType(7)));
    refused(
        "node \"bn\": B \"B\": data_location: its values are in another file",
        g ->
            with(
                g,
                1,
                floats("B", 1, 2, 3).toBuilder()
                    .setDataLocation(TensorProto.DataLocation.EXTERNAL)));
    refused(
        "node \"bn\": spatial is 0: statistics for each position are not supported",
        g ->
            parameters(g)
                .addNode(
                    batchNorm("bn")
                        .addAttribute(AttributeProto.newBuilder().setName("spatial").setI(0))));
    refused(
        "node \"bn\": epsilon is NaN",
        g -> parameters(g).addNode(batchNorm("bn").addAttribute(attribute("epsilon", Float.NaN))));
    refused(
        "node \"bn\": epsilon is -1.0, expected at least 0",
        g -> parameters(g).addNode(batchNorm("bn").addAttribute(attribute("epsilon", -1))));
    refused(
        "node \"bn\": scale \"scale\": is neither an initializer nor a Constant: its values are not"
            + " in the file",
        g ->
            g.addNode(batchNorm("bn"))
                .addNode(node("Identity", "scale", "round"))
                .addNode(node("Identity", "round", "scale")));
  }

  @Test
  void graphsWithinGraphsHaveALimit() {
    GraphProto inner = GraphProto.newBuilder().addNode(node("Relu", "y", "x")).build();
    for (int i = 0; i < 40; i++) {
      NodeProto.Builder loop = node("Loop", "y", "x");
      loop.addAttribute(AttributeProto.newBuilder().setName("body").setG(inner));
      inner = GraphProto.newBuilder().addNode(loop).build();
    }
    GraphProto deep = inner;
    refused("graph: more than 32 graphs within one another", g -> g.mergeFrom(deep));
  }

  /** A thousand nodes on one tensor: it is read once. */
  @Test
  void sharedParametersAreShared() throws IOException {
    float[] many = new float[100_000];
    Arrays.fill(many, 2);
    List<OnnxBatchNorm> all =
        read(
            g -> {
              g.addInitializer(floats("p", many));
              for (int i = 0; i < 10_000; i++) {
                g.addNode(node("BatchNormalization", "y" + i, "x", "p", "p", "p", "p"));
              }
            });
    assertEquals(10_000, all.size());
    assertEquals(2, all.get(9_999).runningVar()[99_999]);
  }

  @Test
  void otherFilesAreRefused() throws IOException {
    Path file = dir.resolve("m.onnx");
    Files.write(file, new byte[0]);
    assertMessage(file, ": model: it has no graph, so this is no ONNX model");
    Files.write(file, "PK\3\4 nothing of the kind".getBytes());
    IOException e = assertThrows(IOException.class, () -> OnnxBatchNorm.read(file));
    assertTrue(e.getMessage().startsWith(file + ": model: "), e.getMessage());
    Files.write(file, new byte[] {0x3a, (byte) 0xff, (byte) 0xff, (byte) 0xff, (byte) 0xff, 0x7f});
    assertMessage(file, ": model: field 7 has 34359738367 bytes, but only 0 are left");
    Files.write(file, new byte[] {0x38, 1});
    assertMessage(file, ": model: field 7 has wire type 0, expected 2");
    Files.write(file, new byte[] {0x3b});
    assertMessage(file, ": model: field 7 has the unknown wire type 3");
    Files.write(file, new byte[] {8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0});
    assertMessage(file, ": model: a number has more than 64 bits");
    Path missing = dir.resolve("missing.onnx");
    assertThrows(NoSuchFileException.class, () -> OnnxBatchNorm.read(missing));
    IOException folder = assertThrows(IOException.class, () -> OnnxBatchNorm.read(dir));
    assertEquals(dir + ": is a directory, expected an ONNX model", folder.getMessage());
  }

  private static void assertMessage(Path file, String message) {
    assertEquals(
        file + message,
        assertThrows(IOException.class, () -> OnnxBatchNorm.read(file)).getMessage());
  }

  @Test
  void truncationAndDamageAreHarmless() throws IOException {
    GraphProto graph =
        parameters(GraphProto.newBuilder())
            .addNode(batchNorm("bn").addAttribute(attribute("epsilon", 1e-3f)))
            .build();
    Path file = model(graph);
    byte[] bytes = Files.readAllBytes(file);
    for (int length = 0; length < bytes.length; length++) {
      Files.write(file, Arrays.copyOf(bytes, length));
      assertThrows(IOException.class, () -> OnnxBatchNorm.read(file));
    }
    Random random = new Random(3);
    int refused = 0;
    for (int i = 0; i < 5000; i++) {
      byte[] copy = bytes.clone();
      for (int k = random.nextInt(3); k >= 0; k--) {
        copy[random.nextInt(copy.length)] = (byte) random.nextInt(256);
      }
      Files.write(file, copy);
      try {
        for (OnnxBatchNorm bn : OnnxBatchNorm.read(file)) {
          assertTrue(bn.numFeatures() <= bytes.length);
        }
      } catch (IOException e) {
        assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
        refused++;
      }
    }
    assertTrue(refused > 1000, refused + " refused");
  }
}
