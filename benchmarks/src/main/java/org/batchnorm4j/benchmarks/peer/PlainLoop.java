package org.batchnorm4j.benchmarks.peer;

import java.util.Arrays;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What one writes without a library: loops over float arrays, sums in double, on one thread.
 * Channel by channel where channels come first, row by row where they come last.
 */
public final class PlainLoop implements Peer {
  @Override
  public String name() {
    return "plain Java loop";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    if (cell.dtype() != DType.F32 || cell.relu()) {
      return null;
    }
    return new Loop(cell, o);
  }

  private static final class Loop implements Task {
    private final Cell cell;
    private final Operands operands;
    private final int n;
    private final int c;
    private final int s;
    private final float[] x;
    private final float[] dy;
    private final float[] out;
    private final float[] weight;
    private final float[] bias;
    private final float[] mean;
    private final float[] var;
    private final float[] movingMean;
    private final float[] movingVar;
    private final float[] scale;
    private final float[] shift;
    private final float[] slope;
    private final float[] dweight;
    private final float[] dbias;
    private final double[] sum;
    private final double[] squares;

    Loop(Cell cell, Operands o) {
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
      if (cell.is(Cell.Operation.BACKWARD)) {
        statistics();
      }
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

    private void statistics() {
      double count = (double) n * s;
      if (cell.layout() == Layout.NCS) {
        for (int k = 0; k < c; k++) {
          double total = 0;
          double total2 = 0;
          for (int i = 0; i < n; i++) {
            int from = (i * c + k) * s;
            for (int j = from; j < from + s; j++) {
              double v = x[j];
              total += v;
              total2 += v * v;
            }
          }
          sum[k] = total;
          squares[k] = total2;
        }
      } else {
        Arrays.fill(sum, 0);
        Arrays.fill(squares, 0);
        for (int row = 0; row < n * s; row++) {
          for (int k = 0; k < c; k++) {
            double v = x[row * c + k];
            sum[k] += v;
            squares[k] += v * v;
          }
        }
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
      if (cell.layout() == Layout.NCS) {
        for (int i = 0; i < n * c; i++) {
          float a = scale[i % c];
          float b = shift[i % c];
          for (int j = i * s; j < (i + 1) * s; j++) {
            out[j] = x[j] * a + b;
          }
        }
      } else {
        for (int row = 0; row < n * s; row++) {
          for (int k = 0; k < c; k++) {
            out[row * c + k] = x[row * c + k] * scale[k] + shift[k];
          }
        }
      }
    }

    /** dx = scale * dy + slope * x + shift, with the two sums over the batch in slope and shift. */
    private void backward() {
      double count = (double) n * s;
      if (cell.layout() == Layout.NCS) {
        for (int k = 0; k < c; k++) {
          double total = 0;
          double product = 0;
          for (int i = 0; i < n; i++) {
            int from = (i * c + k) * s;
            for (int j = from; j < from + s; j++) {
              double g = dy[j];
              total += g;
              product += g * (x[j] - mean[k]);
            }
          }
          sum[k] = total;
          squares[k] = product;
        }
      } else {
        Arrays.fill(sum, 0);
        Arrays.fill(squares, 0);
        for (int row = 0; row < n * s; row++) {
          for (int k = 0; k < c; k++) {
            double g = dy[row * c + k];
            sum[k] += g;
            squares[k] += g * (x[row * c + k] - mean[k]);
          }
        }
      }
      for (int k = 0; k < c; k++) {
        double invStd = 1 / Math.sqrt(var[k] + Operands.EPS);
        dweight[k] = (float) (squares[k] * invStd);
        dbias[k] = (float) sum[k];
        scale[k] = (float) (weight[k] * invStd);
        slope[k] = (float) (-weight[k] * invStd * invStd * invStd * squares[k] / count);
        shift[k] = (float) (-scale[k] * sum[k] / count - slope[k] * mean[k]);
      }
      if (cell.layout() == Layout.NCS) {
        for (int i = 0; i < n * c; i++) {
          float a = scale[i % c];
          float b = slope[i % c];
          float d = shift[i % c];
          for (int j = i * s; j < (i + 1) * s; j++) {
            out[j] = a * dy[j] + b * x[j] + d;
          }
        }
      } else {
        for (int row = 0; row < n * s; row++) {
          for (int k = 0; k < c; k++) {
            int j = row * c + k;
            out[j] = scale[k] * dy[j] + slope[k] * x[j] + shift[k];
          }
        }
      }
    }

    @Override
    public void publish() {
      Tensor to = operands.output(cell);
      to.write(to.offset(), out, 0, out.length);
      operands.dweight.copyFrom(dweight);
      operands.dbias.copyFrom(dbias);
    }

    private static float[] inMemoryOrder(Tensor t) {
      float[] values = new float[(int) t.size()];
      t.read(t.offset(), values, 0, values.length);
      return values;
    }
  }
}
