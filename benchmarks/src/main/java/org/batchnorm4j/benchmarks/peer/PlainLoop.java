package org.batchnorm4j.benchmarks.peer;

import org.jspecify.annotations.Nullable;

/** What one writes without a library: loops over float arrays, sums in double, on one thread. */
public final class PlainLoop implements Peer {
  @Override
  public String name() {
    return "plain Java loop";
  }

  @Override
  public @Nullable Task prepare(Cell cell, Operands o) {
    return ArrayLoop.prepare(cell, o, Loop::new);
  }

  private static final class Loop extends ArrayLoop {
    Loop(Cell cell, Operands o) {
      super(cell, o);
    }

    @Override
    void addMoments(int from, int length, int k) {
      double total = 0;
      double total2 = 0;
      for (int j = from; j < from + length; j++) {
        double v = x[j];
        total += v;
        total2 += v * v;
      }
      sum[k] += total;
      squares[k] += total2;
    }

    @Override
    void addGradients(int from, int length, int k) {
      double total = 0;
      double product = 0;
      for (int j = from; j < from + length; j++) {
        double g = dy[j];
        total += g;
        product += g * (x[j] - mean[k]);
      }
      sum[k] += total;
      squares[k] += product;
    }

    @Override
    void normalizeRow(int from, int length, int k) {
      float a = scale[k];
      float b = shift[k];
      for (int j = from; j < from + length; j++) {
        out[j] = x[j] * a + b;
      }
    }

    @Override
    void gradientRow(int from, int length, int k) {
      float a = scale[k];
      float b = slope[k];
      float d = shift[k];
      for (int j = from; j < from + length; j++) {
        out[j] = a * dy[j] + b * x[j] + d;
      }
    }

    @Override
    void addMoments(int count) {
      for (int row = 0; row < count; row++) {
        for (int k = 0; k < c; k++) {
          double v = x[row * c + k];
          sum[k] += v;
          squares[k] += v * v;
        }
      }
    }

    @Override
    void addGradients(int count) {
      for (int row = 0; row < count; row++) {
        for (int k = 0; k < c; k++) {
          double g = dy[row * c + k];
          sum[k] += g;
          squares[k] += g * (x[row * c + k] - mean[k]);
        }
      }
    }

    @Override
    void normalizeRow(int from) {
      for (int k = 0; k < c; k++) {
        out[from + k] = x[from + k] * scale[k] + shift[k];
      }
    }

    @Override
    void gradientRow(int from) {
      for (int k = 0; k < c; k++) {
        out[from + k] = scale[k] * dy[from + k] + slope[k] * x[from + k] + shift[k];
      }
    }
  }
}
