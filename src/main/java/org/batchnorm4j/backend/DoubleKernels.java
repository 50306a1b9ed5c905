package org.batchnorm4j.backend;

import java.util.Arrays;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** The loops in f64. */
final class DoubleKernels extends Kernels<double[]> {
  private static final int WIDTH = Chunks.LANES * Chunks.MAX_COLUMNS;

  private final double[] shift = new double[WIDTH];
  private final double[] sum = new double[WIDTH];
  private final double[] product = new double[WIDTH];
  private final double[] half = new double[WIDTH];

  @Override
  double[] allocate(int length) {
    return new double[length];
  }

  @Override
  double[][] allocateRows(int count) {
    return new double[count][];
  }

  @Override
  int length(double[] a) {
    return a.length;
  }

  @Override
  void read(Tensor from, long position, double[] to, int at, int length) {
    TensorAccess.read(from, position, to, at, length);
  }

  @Override
  void write(Tensor to, long position, double[] from, int at, int length) {
    TensorAccess.write(to, position, from, at, length);
  }

  @Override
  void copy(double[] from, int at, double[] to, int toAt, int length) {
    System.arraycopy(from, at, to, toAt, length);
  }

  @Override
  double get(double[] from, int index) {
    return from[index];
  }

  @Override
  double set(double[] to, int index, double value) {
    to[index] = value;
    return to[index];
  }

  @Override
  void fill(double[] to, int from, int end, double value) {
    Arrays.fill(to, from, end, value);
  }

  // ----------------------------------------------------------------------------------- reductions

  @Override
  void arrange(double[] linear, int columns, int length, double[][] rows) {
    int full = length / Chunks.LANES;
    for (int g = 0; g < full; g++) {
      double[] row = rows[g];
      for (int column = 0; column < columns; column++) {
        // A constant length makes this a vector move or two instead of a call.
        int at = column * length + g * Chunks.LANES;
        System.arraycopy(linear, at, row, column * Chunks.LANES, Chunks.LANES);
      }
    }
    int rest = length % Chunks.LANES;
    if (rest > 0) {
      for (int column = 0; column < columns; column++) {
        int at = column * length + full * Chunks.LANES;
        System.arraycopy(linear, at, rows[full], column * Chunks.LANES, rest);
      }
    }
  }

  @Override
  void statistics(double[][] rows, Chunks chunks, ChunkSums out) {
    int n = chunks.length();
    int columns = chunks.columns();
    int columnStride = chunks.columnStride();
    int laneStride = chunks.laneStride();
    int width = Chunks.LANES * columns;
    int head = Integer.highestOneBit(Math.min(n, Chunks.LANES));
    Arrays.fill(sum, 0, width, 0);
    if (head == Chunks.LANES) {
      System.arraycopy(rows[0], 0, sum, 0, width);
    } else {
      for (int column = 0; column < columns; column++) {
        for (int lane = 0; lane < head; lane++) {
          int j = column * columnStride + lane * laneStride;
          sum[j] = rows[0][j];
        }
      }
    }
    fold(sum, laneStride, width);
    double perValue = 1.0 / head;
    for (int column = 0; column < columns; column++) {
      double k = sum[column * columnStride] * perValue;
      for (int lane = 0; lane < Chunks.LANES; lane++) {
        shift[column * columnStride + lane * laneStride] = k;
      }
    }

    Arrays.fill(sum, 0, width, 0);
    Arrays.fill(product, 0, width, 0);
    int full = n / Chunks.LANES;
    for (int g = 0; g < full; g++) {
      addSquares(rows[g], shift, sum, product, width);
    }
    int rest = n % Chunks.LANES;
    if (rest > 0 && columnStride == 1) {
      addSquares(rows[full], shift, sum, product, rest * columns);
    } else if (rest > 0) {
      for (int column = 0; column < columns; column++) {
        for (int lane = 0; lane < rest; lane++) {
          int j = column * columnStride + lane;
          double d = rows[full][j] - shift[j];
          sum[j] += d;
          product[j] = Math.fma(d, d, product[j]);
        }
      }
    }
    fold(sum, laneStride, width);
    fold(product, laneStride, width);

    for (int column = 0; column < columns; column++) {
      int at = column * columnStride;
      out.first[column] = rows[0][at];
      out.shift[column] = shift[at];
      out.sum[column] = sum[at];
      out.product[column] = product[at];
    }
  }

  private static void addSquares(
      double[] v, double[] shift, double[] sum, double[] product, int length) {
    for (int j = 0; j < length; j++) {
      double d = v[j] - shift[j];
      sum[j] = sum[j] + d;
      product[j] = Math.fma(d, d, product[j]);
    }
  }

  @Override
  void gradientSums(
      double[][] g, double[][] x, Chunks chunks, double[] mean, double[] meanLow, ChunkSums out) {
    int n = chunks.length();
    int columns = chunks.columns();
    int columnStride = chunks.columnStride();
    int laneStride = chunks.laneStride();
    int width = Chunks.LANES * columns;
    Arrays.fill(sum, 0, width, 0);
    Arrays.fill(product, 0, width, 0);
    int full = n / Chunks.LANES;
    for (int r = 0; r < full; r++) {
      addProducts(g[r], x[r], mean, meanLow, sum, product, width);
    }
    int rest = n % Chunks.LANES;
    if (rest > 0 && columnStride == 1) {
      addProducts(g[full], x[full], mean, meanLow, sum, product, rest * columns);
    } else if (rest > 0) {
      for (int column = 0; column < columns; column++) {
        for (int lane = 0; lane < rest; lane++) {
          int j = column * columnStride + lane;
          sum[j] += g[full][j];
          product[j] = Math.fma(g[full][j], (x[full][j] - mean[j]) - meanLow[j], product[j]);
        }
      }
    }
    fold(sum, laneStride, width);
    fold(product, laneStride, width);
    for (int column = 0; column < columns; column++) {
      out.sum[column] = sum[column * columnStride];
      out.product[column] = product[column * columnStride];
    }
  }

  private static void addProducts(
      double[] g,
      double[] x,
      double[] mean,
      double[] meanLow,
      double[] sum,
      double[] product,
      int length) {
    for (int j = 0; j < length; j++) {
      sum[j] = sum[j] + g[j];
      product[j] = Math.fma(g[j], (x[j] - mean[j]) - meanLow[j], product[j]);
    }
  }

  /**
   * Folds the 16 lanes of every column into its first. The upper lanes are moved aside first, since
   * C2 does not vectorize sums of two places of one array. Lanes above the halves end as garbage.
   */
  private void fold(double[] a, int laneStride, int width) {
    for (int h = Chunks.LANES / 2; h > 0; h /= 2) {
      // Lane l and lane l + h of all columns; channels first, of all lanes, which hurts nobody.
      int distance = h * laneStride;
      int length = laneStride == 1 ? width - distance : distance;
      System.arraycopy(a, distance, half, 0, length);
      add(a, half, length);
    }
  }

  // ---------------------------------------------------------------------------- element by element

  @Override
  void invStd(double[] variance, double eps, double[] to, int n) {
    for (int j = 0; j < n; j++) {
      to[j] = 1 / Math.sqrt(variance[j] + eps);
    }
  }

  @Override
  void multiply(double[] a, double[] b, int n) {
    for (int j = 0; j < n; j++) {
      a[j] = a[j] * b[j];
    }
  }

  @Override
  void add(double[] a, double[] b, int n) {
    for (int j = 0; j < n; j++) {
      a[j] = a[j] + b[j];
    }
  }

  @Override
  void normalize(
      double[] x, double[] mean, double[] meanLow, double[] scale, double[] bias, int n) {
    for (int j = 0; j < n; j++) {
      x[j] = Math.fma((x[j] - mean[j]) - meanLow[j], scale[j], bias[j]);
    }
  }

  /**
   * C2 does not vectorize {@code ?:}, and mispredicts it where signs are random. These sums of
   * {@code max} and {@code min}, which it does vectorize, have the same bits for every t, infinite,
   * NaN and -0 included.
   */
  @Override
  void activate(double[] t, Activation activation, int n) {
    switch (activation.kind()) {
      case NONE -> {}
      case RELU -> relu(t, n);
      case LEAKY_RELU -> leakyRelu(t, activation.slope(), n);
    }
  }

  /** For t below 0 the second operand is +0, otherwise it is negative: {@code t < 0 ? +0 : t}. */
  private static void relu(double[] t, int n) {
    for (int j = 0; j < n; j++) {
      t[j] = Math.max(t[j], -Double.MIN_VALUE - Math.max(t[j], -Double.MIN_VALUE));
    }
  }

  private static void leakyRelu(double[] t, double slope, int n) {
    for (int j = 0; j < n; j++) {
      t[j] = Math.max(t[j], -0.0) + slope * Math.min(t[j], 0.0);
    }
  }

  /** Selects among longs, where C2 finds conditional moves: see {@link #activate}. */
  @Override
  void mask(double[] dy, double[] y, double zero, Activation activation, int n) {
    switch (activation.kind()) {
      case NONE -> {}
      case RELU -> {
        for (int j = 0; j < n; j++) {
          long passes = y[j] <= zero ? 0 : -1;
          dy[j] = Double.longBitsToDouble(Double.doubleToRawLongBits(dy[j]) & passes);
        }
      }
      case LEAKY_RELU -> {
        double slope = activation.slope();
        for (int j = 0; j < n; j++) {
          long damped = Double.doubleToRawLongBits(slope * dy[j]);
          long whole = Double.doubleToRawLongBits(dy[j]);
          dy[j] = Double.longBitsToDouble(y[j] <= zero ? damped : whole);
        }
      }
    }
  }

  @Override
  void gradient(
      double[] g,
      double[] x,
      double[] mean,
      double[] meanLow,
      double[] c1,
      double[] minusC2,
      double[] scale,
      int n) {
    for (int j = 0; j < n; j++) {
      double xm = (x[j] - mean[j]) - meanLow[j];
      g[j] = Math.fma(xm, minusC2[j], g[j] - c1[j]) * scale[j];
    }
  }
}
