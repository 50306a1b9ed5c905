package org.batchnorm4j.benchmarks.peer;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.batchnorm4j.tensor.Tensor;

/**
 * Writes the ONNX model of a cell: BatchNormalization, then Add and Relu where the cell has them.
 * The numbers are those of the fields in onnx.proto.
 */
final class OnnxModel {
  private static final int FLOAT = 1;

  private OnnxModel() {}

  static byte[] of(Cell cell, Operands o) {
    Message graph = new Message();
    String normalized = cell.relu() ? "normalized" : "y";
    Message attribute =
        new Message().text(1, "epsilon").fixed32(2, (float) Operands.EPS).varint(20, 1);
    graph.message(
        1,
        node("BatchNormalization", normalized, "x", "weight", "bias", "mean", "var")
            .message(5, attribute));
    String summed = normalized;
    if (cell.residual()) {
      summed = "summed";
      graph.message(1, node("Add", summed, normalized, "residual"));
    }
    if (cell.relu()) {
      graph.message(1, node("Relu", "y", summed));
    }
    graph.text(2, "batch norm");
    initializer(graph, "weight", o.weight);
    initializer(graph, "bias", o.bias);
    initializer(graph, "mean", o.runningMean);
    initializer(graph, "var", o.runningVar);
    graph.message(11, value("x", cell));
    if (cell.residual()) {
      graph.message(11, value("residual", cell));
    }
    graph.message(12, value("y", cell));
    return new Message()
        .varint(1, 8)
        .message(7, graph)
        .message(8, new Message().text(1, "").varint(2, 15))
        .bytes();
  }

  private static Message node(String type, String output, String... inputs) {
    Message node = new Message();
    for (String input : inputs) {
      node.text(1, input);
    }
    return node.text(2, output).text(4, type);
  }

  private static void initializer(Message graph, String name, Tensor t) {
    ByteBuffer raw = ByteBuffer.allocate((int) t.size() * 4).order(ByteOrder.LITTLE_ENDIAN);
    raw.asFloatBuffer().put(t.toFloatArray());
    graph.message(
        5, new Message().varint(1, t.size()).varint(2, FLOAT).text(8, name).bytes(9, raw.array()));
  }

  private static Message value(String name, Cell cell) {
    Message shape = new Message();
    for (long dim : cell.dims()) {
      shape.message(1, new Message().varint(1, dim));
    }
    Message tensor = new Message().varint(1, FLOAT).message(2, shape);
    return new Message().text(1, name).message(2, new Message().message(1, tensor));
  }

  /** A protobuf message under construction. */
  private static final class Message {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    Message varint(int field, long value) {
      raw((long) field << 3);
      raw(value);
      return this;
    }

    Message fixed32(int field, float value) {
      raw((long) field << 3 | 5);
      int bits = Float.floatToIntBits(value);
      for (int i = 0; i < 4; i++) {
        out.write(bits >>> 8 * i);
      }
      return this;
    }

    Message bytes(int field, byte[] value) {
      raw((long) field << 3 | 2);
      raw(value.length);
      out.writeBytes(value);
      return this;
    }

    Message text(int field, String value) {
      return bytes(field, value.getBytes(StandardCharsets.UTF_8));
    }

    Message message(int field, Message value) {
      return bytes(field, value.bytes());
    }

    byte[] bytes() {
      return out.toByteArray();
    }

    private void raw(long value) {
      while ((value & ~0x7fL) != 0) {
        out.write((int) (value & 0x7f | 0x80));
        value >>>= 7;
      }
      out.write((int) value);
    }
  }
}
