package org.batchnorm4j.benchmarks.peer;

import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** A backend of batchnorm4j. */
public record Ours(String name, BatchNormBackend backend) implements Peer {
  @Override
  public Task prepare(Cell cell, Operands o) {
    Problem problem = cell.problem();
    @Nullable Tensor residual = cell.residual() ? o.residual : null;
    return switch (cell.operation()) {
      case INFERENCE ->
          () ->
              backend.inference(
                  problem,
                  o.x,
                  residual,
                  o.y,
                  o.runningMean,
                  o.runningVar,
                  o.weight,
                  o.bias,
                  Operands.EPS);
      case TRAINING ->
          () ->
              backend.training(
                  problem,
                  o.x,
                  residual,
                  o.y,
                  o.weight,
                  o.bias,
                  Operands.EPS,
                  o.saved,
                  o.movingMean,
                  o.movingVar,
                  Operands.MOMENTUM);
      case BACKWARD -> {
        // Without a residual the mask is computed from x.
        @Nullable Tensor y = cell.relu() && residual != null ? o.y : null;
        yield () ->
            backend.backwardTraining(
                problem, o.dy, o.x, y, o.weight, o.bias, o.saved, o.dx, null, o.dweight, o.dbias);
      }
    };
  }
}
