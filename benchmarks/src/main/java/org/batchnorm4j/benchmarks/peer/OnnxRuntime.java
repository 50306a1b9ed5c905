package org.batchnorm4j.benchmarks.peer;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.util.HashMap;
import java.util.Map;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * ONNX Runtime with direct buffers in and out, nothing copied. Inference, channels first, f32: its
 * CPU provider has no more.
 */
public final class OnnxRuntime implements Peer {
  private final int threads;

  public OnnxRuntime(int threads) {
    this.threads = threads;
  }

  @Override
  public String name() {
    return "ONNX Runtime";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) throws OrtException {
    boolean first = cell.layout() == Layout.NCS || cell.dims().length == 2;
    if (!cell.is(Cell.Operation.INFERENCE) || !first || cell.dtype() != DType.F32) {
      return null;
    }
    return new Run(cell, o, threads);
  }

  private static final class Run implements Task {
    private final Map<String, OnnxTensor> inputs = new HashMap<>();
    private final Map<String, OnnxTensor> outputs = new HashMap<>();
    private final OrtSession session;

    Run(Cell cell, Operands o, int threads) throws OrtException {
      OrtEnvironment environment = OrtEnvironment.getEnvironment();
      try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
        options.setIntraOpNumThreads(threads);
        options.setInterOpNumThreads(1);
        options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
        options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
        session = environment.createSession(OnnxModel.of(cell, o), options);
      }
      inputs.put("x", tensor(environment, o.x, cell));
      if (cell.residual()) {
        inputs.put("residual", tensor(environment, o.residual, cell));
      }
      outputs.put("y", tensor(environment, o.y, cell));
    }

    private static OnnxTensor tensor(OrtEnvironment environment, Tensor t, Cell cell)
        throws OrtException {
      return OnnxTensor.createTensor(environment, t.asFloatBuffer(), cell.dims());
    }

    @Override
    public void run() {
      try {
        session.run(inputs, outputs).close();
      } catch (OrtException e) {
        throw new IllegalStateException(e);
      }
    }

    @Override
    public void close() {
      inputs.values().forEach(OnnxTensor::close);
      outputs.values().forEach(OnnxTensor::close);
      try {
        session.close();
      } catch (OrtException e) {
        throw new IllegalStateException(e);
      }
    }
  }
}
