package org.batchnorm4j.benchmarks.peer;

import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.factory.Nd4j;

/**
 * ND4J's own operations, all with given outputs; the arrays are ND4J's. Training is what DL4J's
 * layer does: the moments, the running statistics, then the operation that inference has too. Its
 * threads: OMP_NUM_THREADS.
 */
public final class Nd4jOp implements Peer {
  @Override
  public String name() {
    return "ND4J";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    return cell.dtype() != DType.F32 || cell.relu() ? null : new Run(cell, o);
  }

  private static final class Run implements Task {
    private final Cell cell;
    private final Operands operands;
    private final long[] shape;
    private final INDArray mean;
    private final INDArray var;
    private final INDArray movingMean;
    private final INDArray movingVar;
    private final INDArray change;
    private final INDArray out;
    private final INDArray dweight;
    private final INDArray dbias;
    private final DynamicCustomOp moments;
    private final DynamicCustomOp op;

    Run(Cell cell, Operands o) {
      this.cell = cell;
      operands = o;
      boolean last = cell.layout() == Layout.NSC;
      shape =
          last
              ? new long[] {cell.n() * cell.s(), cell.c()}
              : new long[] {cell.n(), cell.c(), cell.s()};
      boolean training = !cell.is(Cell.Operation.INFERENCE);
      INDArray x = array(o.x, shape);
      INDArray weight = array(o.weight, cell.c());
      INDArray bias = array(o.bias, cell.c());
      mean = array(o.runningMean, cell.c());
      var = array(o.runningVar, cell.c());
      movingMean = array(o.movingMean, cell.c());
      movingVar = array(o.movingVar, cell.c());
      change = empty(cell.c());
      dweight = empty(cell.c());
      dbias = empty(cell.c());
      out = empty(shape);
      moments =
          DynamicCustomOp.builder("moments")
              .addInputs(x)
              .addOutputs(mean, var)
              .addIntegerArguments(last ? new int[] {0} : new int[] {0, 2})
              .build();
      boolean backward = cell.is(Cell.Operation.BACKWARD);
      DynamicCustomOp.DynamicCustomOpsBuilder builder =
          DynamicCustomOp.builder(backward ? "batchnorm_bp" : "batchnorm")
              .addIntegerArguments(1, 1, 1) // with weight, with bias, the axis of the channels
              .addFloatingPointArguments(Operands.EPS);
      if (backward) {
        builder
            .addInputs(x, mean, var, weight, bias, array(o.dy, shape))
            // The gradients of mean and variance are in dx already.
            .addOutputs(out, empty(cell.c()), empty(cell.c()), dweight, dbias);
      } else {
        builder.addInputs(x, mean, var, weight, bias).addOutputs(out);
      }
      op = builder.build();
      if (training) {
        Nd4j.exec(moments);
      }
    }

    @Override
    public void run() {
      if (cell.is(Cell.Operation.TRAINING)) {
        Nd4j.exec(moments);
        double count = (double) cell.n() * cell.s();
        move(movingMean, mean, 1);
        move(movingVar, var, count / Math.max(1, count - 1));
      }
      Nd4j.exec(op);
    }

    private void move(INDArray moving, INDArray to, double factor) {
      moving.muli(1 - Operands.MOMENTUM);
      moving.addi(to.muli(Operands.MOMENTUM * factor, change));
    }

    @Override
    public void publish() {
      float[] values = out.data().asFloat();
      Tensor to = operands.output(cell);
      TensorAccess.write(to, 0, values, 0, values.length);
      if (cell.is(Cell.Operation.BACKWARD)) {
        operands.dweight.copyFrom(dweight.data().asFloat());
        operands.dbias.copyFrom(dbias.data().asFloat());
      }
    }

    @Override
    public void close() {
      // ND4J frees what the garbage collector finds; arrays this large should not wait for that.
      out.close();
      op.inputArguments().forEach(INDArray::close);
    }
  }

  private static INDArray empty(long... shape) {
    return Nd4j.createUninitialized(DataType.FLOAT, shape);
  }

  private static INDArray array(Tensor t, long... shape) {
    float[] values = new float[(int) t.size()];
    TensorAccess.read(t, 0, values, 0, values.length);
    return Nd4j.createFromArray(values).reshape(shape);
  }
}
