package org.batchnorm4j.examples.interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import ai.djl.util.passthrough.PassthroughNDManager;
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
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Set;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.Float4Vector;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.InferenceModel;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** docs/interop.md, as it says: the memory of others as tensors and back, nothing copied. */
class InteropTest {
  private static final float[] INPUT = {1, -2, 3, 4, 5, -6};

  private InferenceModel scaler;
  private float[] scaled;

  @BeforeEach
  void scaler() {
    try (BatchNorm1d bn = new BatchNorm1d(3)) {
      bn.runningMean().copyFrom(new float[] {1, 2, 3});
      bn.runningVar().copyFrom(new float[] {4, 9, 16});
      scaler = InferenceModel.of(bn, 3);
    }
    scaled = scaler.forward(INPUT, new float[6]);
  }

  @AfterEach
  void close() {
    scaler.close();
  }

  /** Scaler, session, and what the session wrote: three steps on two blocks of memory. */
  @Test
  void onnxTensorsInAndOut() throws Exception {
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    try (Tensor features = Tensor.zeros(2, 3);
        Tensor result = Tensor.zeros(2, 3);
        // Both share the tensors' memory.
        OnnxTensor in = OnnxTensor.createTensor(environment, features.asFloatBuffer(), dims());
        OnnxTensor out = OnnxTensor.createTensor(environment, result.asFloatBuffer(), dims());
        OrtSession session = environment.createSession(relu())) {
      scaler.forward(Tensor.wrap(INPUT, 2, 3), features);
      session.run(Map.of("x", in), Set.of(), Map.of("y", out)).close();
      float[] expected = scaled.clone();
      for (int i = 0; i < expected.length; i++) {
        expected[i] = Math.max(expected[i], 0);
      }
      assertArrayEquals(expected, result.toFloatArray());

      // An OnnxTensor that somebody else made of a direct buffer.
      FloatBuffer theirs = (FloatBuffer) in.getBufferRef().orElseThrow();
      Tensor same = Tensor.wrap(theirs, 2, 3);
      assertEquals(features.address(), same.address());
    }
  }

  private static long[] dims() {
    return new long[] {2, 3};
  }

  private static byte[] relu() {
    return ModelProto.newBuilder()
        .setIrVersion(8)
        .addOpsetImport(OperatorSetIdProto.newBuilder().setVersion(15))
        .setGraph(
            GraphProto.newBuilder()
                .setName("relu")
                .addNode(NodeProto.newBuilder().setOpType("Relu").addInput("x").addOutput("y"))
                .addInput(value("x"))
                .addOutput(value("y")))
        .build()
        .toByteArray();
  }

  private static ValueInfoProto value(String name) {
    TensorShapeProto.Builder shape = TensorShapeProto.newBuilder();
    for (long dim : dims()) {
      shape.addDim(TensorShapeProto.Dimension.newBuilder().setDimValue(dim));
    }
    return ValueInfoProto.newBuilder()
        .setName(name)
        .setType(
            TypeProto.newBuilder()
                .setTensorType(
                    TypeProto.Tensor.newBuilder()
                        .setElemType(TensorProto.DataType.FLOAT.getNumber())
                        .setShape(shape)))
        .build();
  }

  /** Without an engine, DJL's arrays are what ByteBuffers they were made of. */
  @Test
  void ndArraysWithoutAnEngine() {
    ByteBuffer bytes = ByteBuffer.allocateDirect(24).order(ByteOrder.nativeOrder());
    bytes.asFloatBuffer().put(INPUT);
    NDArray array =
        PassthroughNDManager.INSTANCE.create(
            bytes, new ai.djl.ndarray.types.Shape(2, 3), DataType.FLOAT32);
    Tensor x = Tensor.wrap(array.toByteBuffer(), DType.F32, array.getShape().getShape());
    scaler.forward(x, x);
    float[] got = new float[6];
    array.toByteBuffer().asFloatBuffer().get(got);
    assertArrayEquals(scaled, got);
  }

  @Test
  void arrowVectors() {
    try (BufferAllocator allocator = new RootAllocator();
        Float4Vector in = new Float4Vector("in", allocator);
        Float4Vector out = new Float4Vector("out", allocator)) {
      in.allocateNew(6);
      out.allocateNew(6);
      for (int i = 0; i < 6; i++) {
        in.set(i, INPUT[i]);
        out.setIndexDefined(i);
      }
      in.setValueCount(6);
      out.setValueCount(6);
      assertEquals(0, in.getNullCount());
      scaler.forward(tensor(in), tensor(out));
      for (int i = 0; i < 6; i++) {
        assertEquals(scaled[i], out.get(i));
      }
      assertEquals(in.getDataBuffer().memoryAddress(), tensor(in).address());
    }
  }

  private static Tensor tensor(Float4Vector rows) {
    long bytes = (long) rows.getValueCount() * Float.BYTES;
    ByteBuffer values = rows.getDataBuffer().nioBuffer(0, (int) bytes);
    return Tensor.wrap(values.order(ByteOrder.nativeOrder()), DType.F32, 2, 3);
  }
}
