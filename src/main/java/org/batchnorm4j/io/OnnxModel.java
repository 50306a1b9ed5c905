package org.batchnorm4j.io;

import java.io.IOException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.io.ProtoReader.Field;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Half;
import org.jspecify.annotations.Nullable;

/**
 * As much of an ONNX model as its batch norms need: where constants lie in the file, and the nodes
 * that use them. The numbers of fields are those of onnx.proto.
 */
final class OnnxModel {
  private static final int MAX_DEPTH = 32;

  /** The parameters, in the order of the node's inputs. */
  private static final List<String> INPUTS = List.of("X", "scale", "B", "mean", "var");

  private final ProtoReader reader;
  private final List<Node> batchNorms = new ArrayList<>();

  /** What has been read: many nodes may share one constant. */
  private final Map<Constant, Tensor> read = new IdentityHashMap<>();

  OnnxModel(ProtoReader reader) {
    this.reader = reader;
  }

  /** Where values lie: in a tensor, or in a list of floats. */
  private record Constant(@Nullable Field tensor, List<Field> floats) {}

  /** The constants of a graph by name; values of the graph around it can be used too. */
  private static final class Graph {
    final @Nullable Graph outer;
    final int depth;
    final Map<String, Constant> constants = new HashMap<>();
    final Map<String, String> identities = new HashMap<>();

    Graph(@Nullable Graph outer) {
      this.outer = outer;
      depth = outer == null ? 1 : outer.depth + 1;
    }
  }

  private static final class Node {
    final Graph graph;
    final List<String> inputs = new ArrayList<>();
    final List<String> outputs = new ArrayList<>();
    String name = "";
    String type = "";
    String domain = "";
    final List<Attribute> attributes = new ArrayList<>();

    Node(Graph graph) {
      this.graph = graph;
    }

    /** As messages call it. */
    String label() {
      String label = name.isEmpty() && !outputs.isEmpty() ? outputs.get(0) : name;
      return "node " + SafetensorsHeader.quoted(label);
    }

    @Nullable Attribute attribute(String wanted) {
      for (Attribute a : attributes) {
        if (a.name.equals(wanted)) {
          return a;
        }
      }
      return null;
    }
  }

  private static final class Attribute {
    String name = "";
    @Nullable Field number;
    @Nullable Field whole;
    @Nullable Field tensor;
    final List<Field> floats = new ArrayList<>();
  }

  List<OnnxBatchNorm> batchNorms() throws IOException {
    boolean[] found = {false};
    reader.visit(
        reader.whole(),
        "model",
        f -> {
          if (f.number() == 7) {
            found[0] = true;
            readGraph(f, null);
          } else if (f.number() == 25) {
            readFunction(f);
          }
        });
    if (!found[0]) {
      throw reader.error("model", "it has no graph, so this is no ONNX model");
    }
    List<OnnxBatchNorm> all = new ArrayList<>();
    for (Node node : batchNorms) {
      all.add(convert(node));
    }
    return all;
  }

  // --------------------------------------------------------------------------------------
  // structure

  private void readGraph(Field message, @Nullable Graph outer) throws IOException {
    Graph graph = new Graph(outer);
    if (graph.depth > MAX_DEPTH) {
      throw reader.error("graph", "more than " + MAX_DEPTH + " graphs within one another");
    }
    reader.visit(
        message,
        "graph",
        f -> {
          if (f.number() == 1) {
            readNode(f, graph);
          } else if (f.number() == 5) {
            reader.visit(
                f,
                "initializer",
                t -> {
                  if (t.number() == 8) {
                    graph.constants.put(reader.string(t), new Constant(f, List.of()));
                  }
                });
          }
        });
  }

  /** A function is a graph without initializers. */
  private void readFunction(Field message) throws IOException {
    Graph graph = new Graph(null);
    reader.visit(
        message,
        "function",
        f -> {
          if (f.number() == 7) {
            readNode(f, graph);
          }
        });
  }

  private void readNode(Field message, Graph graph) throws IOException {
    Node node = new Node(graph);
    reader.visit(
        message,
        "node",
        f -> {
          switch (f.number()) {
            case 1 -> node.inputs.add(reader.string(f));
            case 2 -> node.outputs.add(reader.string(f));
            case 3 -> node.name = reader.string(f);
            case 4 -> node.type = reader.string(f);
            case 5 -> node.attributes.add(readAttribute(f, graph));
            case 7 -> node.domain = reader.string(f);
            default -> {}
          }
        });
    if (!node.domain.isEmpty() && !node.domain.equals("ai.onnx") || node.outputs.isEmpty()) {
      return;
    }
    switch (node.type) {
      case "BatchNormalization" -> batchNorms.add(node);
      case "Constant" -> {
        Attribute value = node.attribute("value");
        Attribute floats = node.attribute("value_floats");
        if (value != null && value.tensor != null) {
          graph.constants.put(node.outputs.get(0), new Constant(value.tensor, List.of()));
        } else if (floats != null) {
          graph.constants.put(node.outputs.get(0), new Constant(null, floats.floats));
        }
      }
      case "Identity" -> {
        if (!node.inputs.isEmpty()) {
          graph.identities.put(node.outputs.get(0), node.inputs.get(0));
        }
      }
      default -> {}
    }
  }

  private Attribute readAttribute(Field message, Graph graph) throws IOException {
    Attribute attribute = new Attribute();
    reader.visit(
        message,
        "attribute",
        f -> {
          switch (f.number()) {
            case 1 -> attribute.name = reader.string(f);
            case 2 -> attribute.number = f;
            case 3 -> attribute.whole = f;
            case 5 -> attribute.tensor = f;
            case 7 -> attribute.floats.add(f);
            case 6, 11 -> readGraph(f, graph);
            default -> {}
          }
        });
    return attribute;
  }

  // -----------------------------------------------------------------------------------------
  // values

  private OnnxBatchNorm convert(Node node) throws IOException {
    if (node.inputs.size() < INPUTS.size()) {
      throw reader.error(
          node.label(),
          "has " + node.inputs.size() + " inputs, BatchNormalization has " + INPUTS.size());
    }
    Attribute spatial = node.attribute("spatial");
    if (spatial != null && spatial.whole != null && reader.number(spatial.whole) == 0) {
      throw reader.error(
          node.label(), "spatial is 0: statistics for each position are not supported");
    }
    DType dtype = DType.F32;
    double[][] values = new double[INPUTS.size()][];
    for (int i = 1; i < INPUTS.size(); i++) {
      String label =
          node.label() + ": " + INPUTS.get(i) + " " + SafetensorsHeader.quoted(node.inputs.get(i));
      Constant constant = find(label, node.graph, node.inputs.get(i));
      Tensor t = read.get(constant);
      if (t == null) {
        t = readConstant(label, constant);
        read.put(constant, t);
      }
      values[i] = t.values;
      if (t.isDouble) {
        dtype = DType.F64;
      }
      if (values[i].length != values[1].length || values[i].length == 0) {
        throw reader.error(
            label,
            "has "
                + values[i].length
                + " values, expected "
                + (i == 1 ? "at least one" : "one for each of " + values[1].length + " channels"));
      }
    }
    BigDecimal eps = decimal(node, "epsilon", 1e-5f);
    BigDecimal momentum = decimal(node, "momentum", 0.9f);
    if (eps.signum() < 0) {
      throw reader.error(node.label(), "epsilon is " + eps + ", expected at least 0");
    }
    return new OnnxBatchNorm(
        node.name,
        node.inputs.get(0),
        node.outputs.get(0),
        dtype,
        values[1],
        values[2],
        values[3],
        values[4],
        eps.doubleValue(),
        BigDecimal.ONE.subtract(momentum).doubleValue());
  }

  private BigDecimal decimal(Node node, String name, float otherwise) throws IOException {
    Attribute attribute = node.attribute(name);
    float value = otherwise;
    if (attribute != null && attribute.number != null) {
      value = reader.floatValue(attribute.number);
    }
    if (!Float.isFinite(value)) {
      throw reader.error(node.label(), name + " is " + value);
    }
    return new BigDecimal(Float.toString(value));
  }

  private Constant find(String label, Graph from, String name) throws IOException {
    String wanted = name;
    Graph graph = from;
    // Identities of a hostile file may go round in circles.
    for (int steps = 0; graph != null && steps < 1000; steps++) {
      Constant constant = graph.constants.get(wanted);
      if (constant != null) {
        return constant;
      }
      if (graph.identities.containsKey(wanted)) {
        wanted = graph.identities.get(wanted);
      } else {
        graph = graph.outer;
      }
    }
    throw reader.error(
        label, "is neither an initializer nor a Constant: its values are not in the file");
  }

  private record Tensor(double[] values, boolean isDouble) {}

  /** What is known of a TensorProto before its values are read. */
  private static final class Layout {
    final List<Long> dims = new ArrayList<>();
    long type;
    @Nullable Field raw;
    final List<Field> floats = new ArrayList<>();
    final List<Field> ints = new ArrayList<>();
    final List<Field> doubles = new ArrayList<>();
  }

  private Tensor readConstant(String label, Constant constant) throws IOException {
    if (constant.tensor != null) {
      return readTensor(label, constant.tensor);
    }
    Layout layout = new Layout();
    layout.floats.addAll(constant.floats);
    long count = count(layout.floats, ProtoReader.FIXED32);
    layout.dims.add(count);
    return floats(label, layout);
  }

  private Tensor readTensor(String label, Field message) throws IOException {
    Layout layout = new Layout();
    reader.visit(
        message,
        label,
        f -> {
          switch (f.number()) {
            case 1 -> reader.numbers(f, ProtoReader.VARINT, layout.dims::add);
            case 2 -> layout.type = reader.number(f);
            case 3 -> throw reader.error(label, "segment: tensors in parts are not supported");
            case 4 -> layout.floats.add(f);
            case 5 -> layout.ints.add(f);
            case 9 -> layout.raw = reader.bytes(f);
            case 10 -> layout.doubles.add(f);
            case 14 -> {
              if (reader.number(f) != 0) {
                throw reader.error(label, "data_location: its values are in another file");
              }
            }
            default -> {}
          }
        });
    if (layout.dims.size() != 1) {
      throw reader.error(label, "dims are " + layout.dims + ", expected one dimension");
    }
    return switch ((int) layout.type) {
      case 1 -> floats(label, layout);
      case 10 ->
          new Tensor(
              values(label, layout, 2, layout.ints, ProtoReader.VARINT, OnnxModel::fromF16), false);
      case 11 ->
          new Tensor(
              values(
                  label, layout, 8, layout.doubles, ProtoReader.FIXED64, Double::longBitsToDouble),
              true);
      case 16 ->
          new Tensor(
              values(label, layout, 2, layout.ints, ProtoReader.VARINT, OnnxModel::fromBf16),
              false);
      default ->
          throw reader.error(
              label,
              "data_type is " + layout.type + ", expected FLOAT, DOUBLE, FLOAT16 or BFLOAT16");
    };
  }

  private Tensor floats(String label, Layout layout) throws IOException {
    return new Tensor(
        values(label, layout, 4, layout.floats, ProtoReader.FIXED32, OnnxModel::fromFloat), false);
  }

  private static double fromFloat(long bits) {
    return Float.intBitsToFloat((int) bits);
  }

  private static double fromF16(long bits) {
    return Half.fromF16((short) bits);
  }

  private static double fromBf16(long bits) {
    return Half.fromBf16((short) bits);
  }

  private long count(List<Field> typed, int wireType) throws IOException {
    long[] count = {0};
    for (Field f : typed) {
      reader.numbers(f, wireType, v -> count[0]++);
    }
    return count[0];
  }

  private interface Bits {
    double value(long bits);
  }

  /** The values, from raw data or from the repeated field of their type. */
  private double[] values(
      String label, Layout layout, int width, List<Field> typed, int wireType, Bits bits)
      throws IOException {
    Field raw = layout.raw;
    long count = raw != null ? raw.length() / width : count(typed, wireType);
    long wanted = layout.dims.get(0);
    boolean ragged = raw != null && raw.length() % width != 0;
    if (ragged || count != wanted || wanted > Integer.MAX_VALUE - 8) {
      throw reader.error(label, "dims are " + layout.dims + ", but " + count + " values are there");
    }
    double[] values = new double[(int) wanted];
    if (raw != null) {
      for (int i = 0; i < values.length; i++) {
        long at = raw.begin() + (long) i * width;
        values[i] =
            bits.value(
                switch (width) {
                  case 2 -> reader.getShort(at);
                  case 4 -> reader.getInt(at);
                  default -> reader.getLong(at);
                });
      }
    } else {
      int[] at = {0};
      for (Field f : typed) {
        reader.numbers(f, wireType, v -> values[at[0]++] = bits.value(v));
      }
    }
    return values;
  }
}
