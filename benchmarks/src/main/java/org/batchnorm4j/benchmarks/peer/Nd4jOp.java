package org.batchnorm4j.benchmarks.peer;

import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.factory.Nd4j;

/**
 * ND4J's own batch norm with a given output, as DL4J's layer calls it for inference; the arrays are
 * ND4J's. Its training is several operations with allocations between them, and is not raced.
 */
public final class Nd4jOp implements Peer {
  @Override
  public String name() {
    return "ND4J";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    if (!cell.is(Cell.Operation.INFERENCE) || cell.dtype() != DType.F32 || cell.relu()) {
      return null;
    }
    boolean last = cell.layout() == Layout.NSC;
    long[] shape =
        last
            ? new long[] {cell.n() * cell.s(), cell.c()}
            : new long[] {cell.n(), cell.c(), cell.s()};
    INDArray y = Nd4j.createUninitialized(DataType.FLOAT, shape);
    DynamicCustomOp op =
        DynamicCustomOp.builder("batchnorm")
            .addInputs(
                array(o.x, shape),
                array(o.runningMean, cell.c()),
                array(o.runningVar, cell.c()),
                array(o.weight, cell.c()),
                array(o.bias, cell.c()))
            .addOutputs(y)
            .addIntegerArguments(1, 1, 1) // with weight, with bias, the axis of the channels
            .addFloatingPointArguments(Operands.EPS)
            .build();
    return new Task() {
      @Override
      public void run() {
        Nd4j.exec(op);
      }

      @Override
      public void publish() {
        float[] values = y.data().asFloat();
        o.y.write(o.y.offset(), values, 0, values.length);
      }
    };
  }

  private static INDArray array(Tensor t, long... shape) {
    float[] values = new float[(int) t.size()];
    t.read(t.offset(), values, 0, values.length);
    return Nd4j.createFromArray(values).reshape(shape);
  }
}
