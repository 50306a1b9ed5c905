package org.batchnorm4j.benchmarks.peer;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/** A backend of batchnorm4j whose data lies in heap arrays or direct buffers; inference. */
public record Elsewhere(String name, BatchNormBackend backend, Memory memory) implements Peer {
  /** Where the data is. */
  public enum Memory {
    HEAP_ARRAY,
    DIRECT_BUFFER
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    boolean plain = cell.layout() == Layout.NCS || cell.dims().length == 2;
    if (!plain || !cell.is(Cell.Operation.INFERENCE) || cell.relu() || cell.dtype() != DType.F32) {
      return null;
    }
    float[] values = new float[(int) cell.size()];
    TensorAccess.read(o.x, 0, values, 0, values.length);
    Tensor x = wrap(values, cell.dims());
    Tensor y = wrap(new float[values.length], cell.dims());
    return new Task() {
      @Override
      public void run() {
        backend.inference(
            cell.problem(),
            x,
            null,
            y,
            o.runningMean,
            o.runningVar,
            o.weight,
            o.bias,
            Operands.EPS);
      }

      @Override
      public void publish() {
        o.y.copyFrom(y);
      }

      @Override
      public void close() {
        x.close();
        y.close();
      }
    };
  }

  private Tensor wrap(float[] values, long[] dims) {
    if (memory == Memory.HEAP_ARRAY) {
      return Tensor.wrap(values, dims);
    }
    FloatBuffer buffer =
        ByteBuffer.allocateDirect(4 * values.length).order(ByteOrder.nativeOrder()).asFloatBuffer();
    buffer.put(0, values);
    return Tensor.wrap(buffer, dims);
  }
}
