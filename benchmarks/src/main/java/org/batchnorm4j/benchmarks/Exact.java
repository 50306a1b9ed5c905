package org.batchnorm4j.benchmarks;

import java.util.Arrays;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.benchmarks.peer.Cell;
import org.batchnorm4j.benchmarks.peer.Operands;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * The right values, in double: two passes over data around 0.5 lose nothing that matters at the
 * tolerances here. All of a small cell is compared; of a large one the channels that {@link
 * #MAX_VALUES} allows, spread evenly, and the rest must at least have been written.
 */
final class Exact {
  private static final long MAX_VALUES = 400_000;

  /** What f32 sums in any sensible order keep to, on the scale of the channel's largest value. */
  private static final double F32_TOLERANCE = 2e-5;

  private static final double BF16_TOLERANCE = 1e-2;

  private final Cell cell;
  private final Operands operands;
  private final int[] channels;
  private final double[][] expected;
  private final double[] dweight;
  private final double[] dbias;

  /** The size of what is summed, which a sum's error is measured on. */
  private final double[] scale;

  Exact(Cell cell, Operands operands) {
    this.cell = cell;
    this.operands = operands;
    int c = (int) cell.c();
    int count = (int) (cell.n() * cell.s());
    int checked = (int) Math.max(1, Math.min(c, MAX_VALUES / count));
    channels = new int[checked];
    expected = new double[checked][];
    dweight = new double[checked];
    dbias = new double[checked];
    scale = new double[checked];
    for (int i = 0; i < checked; i++) {
      channels[i] = checked == 1 ? c - 1 : (int) ((long) i * (c - 1) / (checked - 1));
      compute(i, channels[i], count);
    }
  }

  private void compute(int i, int k, int count) {
    double[] x = values(operands.x, k);
    boolean fixed = cell.is(Cell.Operation.INFERENCE);
    double mean = fixed ? operands.runningMean.get(k) : mean(x);
    double var = fixed ? operands.runningVar.get(k) : variance(x, mean);
    double invStd = 1 / Math.sqrt(var + Operands.EPS);
    double weight = operands.weight.get(k);
    double bias = operands.bias.get(k);
    double[] out = new double[count];
    if (cell.is(Cell.Operation.BACKWARD)) {
      double[] dy = values(operands.dy, k);
      double[] y = cell.relu() ? values(operands.y, k) : null;
      double product = 0;
      double sum = 0;
      for (int j = 0; j < count; j++) {
        if (y != null && !(y[j] > 0)) {
          dy[j] = 0;
        }
        sum += dy[j];
        product += dy[j] * (x[j] - mean) * invStd;
        scale[i] += Math.abs(dy[j]);
      }
      for (int j = 0; j < count; j++) {
        double normalized = (x[j] - mean) * invStd;
        out[j] = weight * invStd * (dy[j] - sum / count - normalized * product / count);
      }
      dweight[i] = product;
      dbias[i] = sum;
    } else {
      double[] residual = cell.residual() ? values(operands.residual, k) : null;
      for (int j = 0; j < count; j++) {
        double v = (x[j] - mean) * invStd * weight + bias;
        v += residual == null ? 0 : residual[j];
        out[j] = cell.relu() ? Math.max(0, v) : v;
      }
    }
    expected[i] = out;
  }

  /** Fills what a contender must write with NaN. */
  void poison() {
    Tensor out = operands.output(cell);
    float[] block = new float[4096];
    Arrays.fill(block, Float.NaN);
    for (long at = 0; at < out.size(); at += block.length) {
      TensorAccess.write(out, at, block, 0, (int) Math.min(block.length, out.size() - at));
    }
    if (cell.is(Cell.Operation.BACKWARD)) {
      operands.dweight.fill(Double.NaN);
      operands.dbias.fill(Double.NaN);
    }
  }

  /** Says what is wrong with what a contender wrote; null when nothing is. */
  @Nullable String complaint() {
    Tensor out = operands.output(cell);
    float[] block = new float[4096];
    for (long at = 0; at < out.size(); at += block.length) {
      int length = (int) Math.min(block.length, out.size() - at);
      TensorAccess.read(out, at, block, 0, length);
      for (int i = 0; i < length; i++) {
        if (Float.isNaN(block[i])) {
          return "did not write element " + (at + i);
        }
      }
    }
    double tolerance = cell.dtype() == DType.F32 ? F32_TOLERANCE : BF16_TOLERANCE;
    for (int i = 0; i < channels.length; i++) {
      double[] got = values(out, channels[i]);
      double largest = 0;
      for (double v : expected[i]) {
        largest = Math.max(largest, Math.abs(v));
      }
      for (int j = 0; j < got.length; j++) {
        // One value is 0 after normalization, and so is its gradient: nothing to compare with.
        if (Math.abs(got[j] - expected[i][j]) > tolerance * Math.max(largest, 1e-3)) {
          return "channel "
              + channels[i]
              + ", value "
              + j
              + ": "
              + got[j]
              + ", expected "
              + expected[i][j];
        }
      }
      if (cell.is(Cell.Operation.BACKWARD)) {
        double weightError = Math.abs(operands.dweight.get(channels[i]) - dweight[i]);
        double biasError = Math.abs(operands.dbias.get(channels[i]) - dbias[i]);
        if (!(weightError <= 4 * tolerance * scale[i] && biasError <= 4 * tolerance * scale[i])) {
          return "channel "
              + channels[i]
              + ": dweight "
              + operands.dweight.get(channels[i])
              + ", expected "
              + dweight[i]
              + "; dbias "
              + operands.dbias.get(channels[i])
              + ", expected "
              + dbias[i];
        }
      }
    }
    return null;
  }

  private static double mean(double[] x) {
    double sum = 0;
    for (double v : x) {
      sum += v;
    }
    return sum / x.length;
  }

  private static double variance(double[] x, double mean) {
    double sum = 0;
    for (double v : x) {
      sum += (v - mean) * (v - mean);
    }
    return sum / x.length;
  }

  /** The values of a channel, in the order of samples and positions. */
  private double[] values(Tensor t, int channel) {
    int n = (int) cell.n();
    int s = (int) cell.s();
    int c = (int) cell.c();
    double[] values = new double[n * s];
    float[] row = new float[s];
    for (int i = 0; i < n; i++) {
      if (cell.layout() == Layout.NCS) {
        TensorAccess.read(t, ((long) i * c + channel) * s, row, 0, s);
        for (int j = 0; j < s; j++) {
          values[i * s + j] = row[j];
        }
      } else {
        for (int j = 0; j < s; j++) {
          TensorAccess.read(t, ((long) i * s + j) * c + channel, row, 0, 1);
          values[i * s + j] = row[0];
        }
      }
    }
    return values;
  }
}
