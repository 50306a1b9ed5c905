package org.batchnorm4j.benchmarks.serving;

import ai.onnx.proto.OnnxMl.AttributeProto;
import ai.onnx.proto.OnnxMl.GraphProto;
import ai.onnx.proto.OnnxMl.ModelProto;
import ai.onnx.proto.OnnxMl.NodeProto;
import ai.onnx.proto.OnnxMl.OperatorSetIdProto;
import ai.onnx.proto.OnnxMl.TensorProto;
import ai.onnx.proto.OnnxMl.TensorShapeProto;
import ai.onnx.proto.OnnxMl.TypeProto;
import ai.onnx.proto.OnnxMl.ValueInfoProto;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.nn.BatchNorm;
import org.batchnorm4j.nn.Conv2d;
import org.batchnorm4j.nn.Flatten;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.nn.MaxPool2d;
import org.batchnorm4j.nn.Module;
import org.batchnorm4j.nn.Parameter;
import org.batchnorm4j.nn.ReLU;
import org.batchnorm4j.tensor.Tensor;

/**
 * An ONNX Runtime session with all optimizations, one thread to a call, and outputs that are
 * pinned: its fastest way. The copies between heap arrays and its direct buffers are a part of a
 * call, as they are for a service.
 */
final class OnnxServer implements Server {
  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
  private final OrtSession session;
  private final Network network;

  OnnxServer(Network network) throws OrtException {
    this.network = network;
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      options.setIntraOpNumThreads(1);
      options.setInterOpNumThreads(1);
      options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
      session = environment.createSession(model(network), options);
    }
  }

  @Override
  public Caller caller(int batch, float[] input) throws OrtException {
    long[] inDims = network.batch(batch);
    long[] outDims;
    try (OnnxTensor x = OnnxTensor.createTensor(environment, FloatBuffer.wrap(input), inDims);
        OrtSession.Result result = session.run(Map.of("x", x))) {
      outDims = ((OnnxTensor) result.get(0)).getInfo().getShape();
    }
    return new Call(input, inDims, outDims);
  }

  private final class Call implements Caller {
    private final float[] input;
    private final float[] output;
    private final FloatBuffer in;
    private final FloatBuffer out;
    private final OnnxTensor x;
    private final OnnxTensor y;
    private final Map<String, OnnxTensor> inputs;
    private final Map<String, OnnxTensor> outputs;

    Call(float[] input, long[] inDims, long[] outDims) throws OrtException {
      this.input = input;
      int size = 1;
      for (long dim : outDims) {
        size *= (int) dim;
      }
      output = new float[size];
      in = direct(input.length);
      out = direct(size);
      x = OnnxTensor.createTensor(environment, in, inDims);
      y = OnnxTensor.createTensor(environment, out, outDims);
      inputs = Map.of("x", x);
      outputs = Map.of("y", y);
    }

    private static FloatBuffer direct(int size) {
      return ByteBuffer.allocateDirect(size * 4).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    @Override
    public void call() {
      in.put(0, input);
      try {
        session.run(inputs, Set.of(), outputs).close();
      } catch (OrtException e) {
        throw new IllegalStateException(e);
      }
      out.get(0, output);
    }

    @Override
    public float[] output() {
      return output;
    }

    @Override
    public void close() {
      x.close();
      y.close();
    }
  }

  @Override
  public void close() throws OrtException {
    session.close();
  }

  // ------------------------------------------------------------------------------------------
  // model

  private static byte[] model(Network network) {
    GraphProto.Builder graph = GraphProto.newBuilder().setName("network");
    graph.addInput(value("x", network.sample()));
    String last = "x";
    int layers = network.folded().size();
    for (int i = 0; i < layers; i++) {
      String next = i == layers - 1 ? "y" : "v" + i;
      graph.addNode(node(graph, network.folded().get(i), "l" + i, last).addOutput(next));
      last = next;
    }
    graph.addOutput(ValueInfoProto.newBuilder().setName("y").setType(type()));
    return ModelProto.newBuilder()
        .setIrVersion(8)
        .addOpsetImport(OperatorSetIdProto.newBuilder().setVersion(15))
        .setGraph(graph)
        .build()
        .toByteArray();
  }

  private static NodeProto.Builder node(
      GraphProto.Builder graph, Module layer, String name, String x) {
    NodeProto.Builder node = NodeProto.newBuilder().addInput(x);
    if (layer instanceof Linear linear) {
      node.setOpType("Gemm").addAttribute(integer("transB", 1));
      parameters(graph, node, name, linear.weight(), linear.bias());
    } else if (layer instanceof Conv2d conv) {
      int padding = conv.convOptions().padding().height();
      node.setOpType("Conv").addAttribute(integers("pads", padding, padding, padding, padding));
      parameters(graph, node, name, conv.weight(), conv.bias());
    } else if (layer instanceof MaxPool2d pool) {
      node.setOpType("MaxPool")
          .addAttribute(integers("kernel_shape", pool.kernel(), pool.kernel()))
          .addAttribute(integers("strides", pool.stride(), pool.stride()));
    } else if (layer instanceof BatchNorm bn) {
      node.setOpType("BatchNormalization")
          .addAttribute(
              AttributeProto.newBuilder()
                  .setName("epsilon")
                  .setType(AttributeProto.AttributeType.FLOAT)
                  .setF((float) bn.eps()));
      parameters(graph, node, name, bn.weight(), bn.bias());
      parameter(graph, node, name + ".mean", bn.runningMean());
      parameter(graph, node, name + ".var", bn.runningVar());
    } else if (layer instanceof Flatten) {
      node.setOpType("Flatten");
    } else if (layer instanceof ReLU) {
      node.setOpType("Relu");
    } else {
      throw new IllegalArgumentException("no ONNX for " + layer);
    }
    return node;
  }

  private static void parameters(
      GraphProto.Builder graph,
      NodeProto.Builder node,
      String name,
      Parameter weight,
      Parameter bias) {
    parameter(graph, node, name + ".weight", weight.value());
    parameter(graph, node, name + ".bias", bias.value());
  }

  private static void parameter(
      GraphProto.Builder graph, NodeProto.Builder node, String name, Tensor t) {
    TensorProto.Builder values =
        TensorProto.newBuilder().setName(name).setDataType(TensorProto.DataType.FLOAT.getNumber());
    for (long dim : t.shape().toArray()) {
      values.addDims(dim);
    }
    for (float v : t.toFloatArray()) {
      values.addFloatData(v);
    }
    graph.addInitializer(values);
    node.addInput(name);
  }

  private static ValueInfoProto.Builder value(String name, long[] sample) {
    TensorShapeProto.Builder shape =
        TensorShapeProto.newBuilder()
            .addDim(TensorShapeProto.Dimension.newBuilder().setDimParam("n"));
    for (long dim : sample) {
      shape.addDim(TensorShapeProto.Dimension.newBuilder().setDimValue(dim));
    }
    TypeProto.Builder type = type();
    type.getTensorTypeBuilder().setShape(shape);
    return ValueInfoProto.newBuilder().setName(name).setType(type);
  }

  private static TypeProto.Builder type() {
    return TypeProto.newBuilder()
        .setTensorType(
            TypeProto.Tensor.newBuilder().setElemType(TensorProto.DataType.FLOAT.getNumber()));
  }

  private static AttributeProto.Builder integer(String name, long value) {
    return AttributeProto.newBuilder()
        .setName(name)
        .setType(AttributeProto.AttributeType.INT)
        .setI(value);
  }

  private static AttributeProto.Builder integers(String name, long... values) {
    AttributeProto.Builder attribute =
        AttributeProto.newBuilder().setName(name).setType(AttributeProto.AttributeType.INTS);
    for (long v : values) {
      attribute.addInts(v);
    }
    return attribute;
  }
}
