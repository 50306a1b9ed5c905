package org.batchnorm4j.benchmarks.peer;

import java.util.Arrays;
import java.util.function.BiFunction;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * Batch norm over float arrays, on one thread, but for the loops over the elements. Those get rows
 * of equal length: the positions of one channel where channels come first, the channels of one
 * position where they come last.
 */
abstract class ArrayLoop implements Peer.Task {
  final Cell cell;
  final Operands operands;
  final int n;
  final int c;
  final int s;
  final float[] x;
  final float[] dy;
  final float[] out;
  final float[] weight;
  final float[] bias;
  final float[] mean;
  final float[] var;
  final float[] movingMean;
  final float[] movingVar;
  final float[] scale;
  final float[] shift;
  final float[] slope;
  final float[] dweight;
  final float[] dbias;
  final double[] sum;
  final double[] squares;

  ArrayLoop(Cell cell, Operands o) {
    this.cell = cell;
    operands = o;
    n = (int) cell.n();
    c = (int) cell.c();
    s = (int) cell.s();
    x = inMemoryOrder(o.x);
    dy = inMemoryOrder(o.dy);
    out = new float[x.length];
    weight = o.weight.toFloatArray();
    bias = o.bias.toFloatArray();
    mean = o.runningMean.toFloatArray();
    var = o.runningVar.toFloatArray();
    movingMean = o.movingMean.toFloatArray();
    movingVar = o.movingVar.toFloatArray();
    scale = new float[c];
    shift = new float[c];
    slope = new float[c];
    dweight = new float[c];
    dbias = new float[c];
    sum = new double[c];
    squares = new double[c];
  }

  @Override
  public void run() {
    switch (cell.operation()) {
      case INFERENCE -> normalize();
      case TRAINING -> {
        statistics();
        double count = (double) n * s;
        for (int i = 0; i < c; i++) {
          double unbiased = var[i] * count / Math.max(1, count - 1);
          movingMean[i] += (float) (Operands.MOMENTUM * (mean[i] - movingMean[i]));
          movingVar[i] += (float) (Operands.MOMENTUM * (unbiased - movingVar[i]));
        }
        normalize();
      }
      case BACKWARD -> backward();
    }
  }

  /** A loop that is ready to run, if it can do the cell at all. */
  static @Nullable ArrayLoop prepare(
      Cell cell, Operands o, BiFunction<Cell, Operands, ArrayLoop> loops) {
    if (cell.dtype() != DType.F32 || cell.relu()) {
      return null;
    }
    ArrayLoop loop = loops.apply(cell, o);
    if (cell.is(Cell.Operation.BACKWARD)) {
      loop.statistics();
    }
    return loop;
  }

  // Where channels come first: one channel, one row.

  /** Adds the row's x and x * x to {@code sum[k]} and {@code squares[k]}. */
  abstract void addMoments(int from, int length, int k);

  /** Adds the row's dy and dy * (x - mean) to {@code sum[k]} and {@code squares[k]}. */
  abstract void addGradients(int from, int length, int k);

  /** {@code out = scale[k] * x + shift[k]}. */
  abstract void normalizeRow(int from, int length, int k);

  /** {@code out = scale[k] * dy + slope[k] * x + shift[k]}. */
  abstract void gradientRow(int from, int length, int k);

  // Where channels come last: all channels, rows [0, count).

  /** Adds x and x * x of every channel. */
  abstract void addMoments(int count);

  /** Adds dy and dy * (x - mean) of every channel. */
  abstract void addGradients(int count);

  /** The row that starts at {@code from}. */
  abstract void normalizeRow(int from);

  /** The row that starts at {@code from}. */
  abstract void gradientRow(int from);

  private boolean channelsFirst() {
    return cell.layout() == Layout.NCS;
  }

  private void statistics() {
    double count = (double) n * s;
    Arrays.fill(sum, 0);
    Arrays.fill(squares, 0);
    if (channelsFirst()) {
      for (int k = 0; k < c; k++) {
        for (int i = 0; i < n; i++) {
          addMoments((i * c + k) * s, s, k);
        }
      }
    } else {
      addMoments(n * s);
    }
    for (int k = 0; k < c; k++) {
      double m = sum[k] / count;
      mean[k] = (float) m;
      var[k] = (float) Math.max(0, squares[k] / count - m * m);
    }
  }

  private void normalize() {
    for (int k = 0; k < c; k++) {
      scale[k] = (float) (weight[k] / Math.sqrt(var[k] + Operands.EPS));
      shift[k] = bias[k] - mean[k] * scale[k];
    }
    if (channelsFirst()) {
      for (int i = 0; i < n * c; i++) {
        normalizeRow(i * s, s, i % c);
      }
    } else {
      for (int row = 0; row < n * s; row++) {
        normalizeRow(row * c);
      }
    }
  }

  /** dx = scale * dy + slope * x + shift, with the two sums over the batch in slope and shift. */
  private void backward() {
    double count = (double) n * s;
    Arrays.fill(sum, 0);
    Arrays.fill(squares, 0);
    if (channelsFirst()) {
      for (int k = 0; k < c; k++) {
        for (int i = 0; i < n; i++) {
          addGradients((i * c + k) * s, s, k);
        }
      }
    } else {
      addGradients(n * s);
    }
    for (int k = 0; k < c; k++) {
      double invStd = 1 / Math.sqrt(var[k] + Operands.EPS);
      dweight[k] = (float) (squares[k] * invStd);
      dbias[k] = (float) sum[k];
      scale[k] = (float) (weight[k] * invStd);
      slope[k] = (float) (-weight[k] * invStd * invStd * invStd * squares[k] / count);
      shift[k] = (float) (-scale[k] * sum[k] / count - slope[k] * mean[k]);
    }
    if (channelsFirst()) {
      for (int i = 0; i < n * c; i++) {
        gradientRow(i * s, s, i % c);
      }
    } else {
      for (int row = 0; row < n * s; row++) {
        gradientRow(row * c);
      }
    }
  }

  @Override
  public void publish() {
    Tensor to = operands.output(cell);
    TensorAccess.write(to, 0, out, 0, out.length);
    operands.dweight.copyFrom(dweight);
    operands.dbias.copyFrom(dbias);
  }

  private static float[] inMemoryOrder(Tensor t) {
    float[] values = new float[(int) t.size()];
    TensorAccess.read(t, 0, values, 0, values.length);
    return values;
  }
}
