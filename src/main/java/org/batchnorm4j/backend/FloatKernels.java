package org.batchnorm4j.backend;

import java.util.Arrays;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** The loops in f32. */
final class FloatKernels extends Kernels<float[]> {
  /** Squares within these bounds neither overflowed nor lost bits to underflow. */
  private static final float LEAST_SQUARES = 0x1p-80f;

  private static final float MOST_SQUARES = 0x1p100f;

  private static final int WIDTH = Chunks.LANES * Chunks.MAX_COLUMNS;

  private final float[] shift = new float[WIDTH];
  private final float[] sum = new float[WIDTH];
  private final float[] product = new float[WIDTH];
  private final float[] half = new float[WIDTH];
  private final double[] wideSum = new double[Chunks.LANES];
  private final double[] wideSquares = new double[Chunks.LANES];

  @Override
  float[] allocate(int length) {
    return new float[length];
  }

  @Override
  float[][] allocateRows(int count) {
    return new float[count][];
  }

  @Override
  int length(float[] a) {
    return a.length;
  }

  @Override
  void read(Tensor from, long position, float[] to, int at, int length) {
    TensorAccess.read(from, position, to, at, length);
  }

  @Override
  void write(Tensor to, long position, float[] from, int at, int length) {
    TensorAccess.write(to, position, from, at, length);
  }

  @Override
  void copy(float[] from, int at, float[] to, int toAt, int length) {
    System.arraycopy(from, at, to, toAt, length);
  }

  @Override
  double get(float[] from, int index) {
    return from[index];
  }

  @Override
  double set(float[] to, int index, double value) {
    to[index] = (float) value;
    return to[index];
  }

  @Override
  void fill(float[] to, int from, int end, double value) {
    Arrays.fill(to, from, end, (float) value);
  }

  // ----------------------------------------------------------------------------------- reductions

  @Override
  void arrange(float[] linear, int columns, int length, float[][] rows) {
    int full = length / Chunks.LANES;
    for (int g = 0; g < full; g++) {
      float[] row = rows[g];
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
  void statistics(float[][] rows, Chunks chunks, ChunkSums out) {
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
    float perValue = 1f / head;
    for (int column = 0; column < columns; column++) {
      float k = sum[column * columnStride] * perValue;
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
          float d = rows[full][j] - shift[j];
          sum[j] += d;
          product[j] = Math.fma(d, d, product[j]);
        }
      }
    }
    fold(sum, laneStride, width);
    fold(product, laneStride, width);

    for (int column = 0; column < columns; column++) {
      int at = column * columnStride;
      float s1 = sum[at];
      float s2 = product[at];
      out.first[column] = rows[0][at];
      if ((s1 == 0 && s2 == 0) || (s2 >= LEAST_SQUARES && s2 <= MOST_SQUARES)) {
        out.shift[column] = shift[at];
        out.sum[column] = s1;
        out.product[column] = s2;
      } else {
        wideStatistics(rows, n, at, laneStride, out, column);
      }
    }
  }

  private static void addSquares(
      float[] v, float[] shift, float[] sum, float[] product, int length) {
    for (int j = 0; j < length; j++) {
      float d = v[j] - shift[j];
      sum[j] = sum[j] + d;
      product[j] = Math.fma(d, d, product[j]);
    }
  }

  /** One column in f64, for squares that f32 cannot hold. */
  private void wideStatistics(
      float[][] rows, int n, int at, int laneStride, ChunkSums out, int column) {
    double k = rows[0][at];
    Arrays.fill(wideSum, 0);
    Arrays.fill(wideSquares, 0);
    for (int i = 0; i < n; i++) {
      int lane = i % Chunks.LANES;
      double d = rows[i / Chunks.LANES][at + lane * laneStride] - k;
      wideSum[lane] += d;
      wideSquares[lane] = Math.fma(d, d, wideSquares[lane]);
    }
    for (int h = Chunks.LANES / 2; h > 0; h /= 2) {
      for (int lane = 0; lane < h; lane++) {
        wideSum[lane] += wideSum[lane + h];
        wideSquares[lane] += wideSquares[lane + h];
      }
    }
    out.shift[column] = k;
    out.sum[column] = wideSum[0];
    out.product[column] = wideSquares[0];
  }

  @Override
  void gradientSums(
      float[][] g, float[][] x, Chunks chunks, float[] mean, float[] meanLow, ChunkSums out) {
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
      float[] g,
      float[] x,
      float[] mean,
      float[] meanLow,
      float[] sum,
      float[] product,
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
  private void fold(float[] a, int laneStride, int width) {
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
  void invStd(float[] variance, double eps, float[] to, int n) {
    for (int j = 0; j < n; j++) {
      float v = (float) (variance[j] + eps);
      to[j] = 1f / (float) Math.sqrt(v);
    }
  }

  @Override
  void multiply(float[] a, float[] b, int n) {
    for (int j = 0; j < n; j++) {
      a[j] = a[j] * b[j];
    }
  }

  @Override
  void add(float[] a, float[] b, int n) {
    for (int j = 0; j < n; j++) {
      a[j] = a[j] + b[j];
    }
  }

  @Override
  void normalize(float[] x, float[] mean, float[] meanLow, float[] scale, float[] bias, int n) {
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
  void activate(float[] t, Activation activation, int n) {
    switch (activation.kind()) {
      case NONE -> {}
      case RELU -> relu(t, n);
      case LEAKY_RELU -> leakyRelu(t, (float) activation.slope(), n);
    }
  }

  /** For t below 0 the second operand is +0, otherwise it is negative: {@code t < 0 ? +0 : t}. */
  private static void relu(float[] t, int n) {
    for (int j = 0; j < n; j++) {
      t[j] = Math.max(t[j], -Float.MIN_VALUE - Math.max(t[j], -Float.MIN_VALUE));
    }
  }

  private static void leakyRelu(float[] t, float slope, int n) {
    for (int j = 0; j < n; j++) {
      t[j] = Math.max(t[j], -0f) + slope * Math.min(t[j], 0f);
    }
  }

  /** Selects among ints, where C2 finds conditional moves: see {@link #activate}. */
  @Override
  void mask(float[] dy, float[] y, double zero, Activation activation, int n) {
    float most = (float) zero;
    switch (activation.kind()) {
      case NONE -> {}
      case RELU -> {
        for (int j = 0; j < n; j++) {
          int passes = y[j] <= most ? 0 : -1;
          dy[j] = Float.intBitsToFloat(Float.floatToRawIntBits(dy[j]) & passes);
        }
      }
      case LEAKY_RELU -> {
        float slope = (float) activation.slope();
        for (int j = 0; j < n; j++) {
          int damped = Float.floatToRawIntBits(slope * dy[j]);
          int whole = Float.floatToRawIntBits(dy[j]);
          dy[j] = Float.intBitsToFloat(y[j] <= most ? damped : whole);
        }
      }
    }
  }

  @Override
  void gradient(
      float[] g,
      float[] x,
      float[] mean,
      float[] meanLow,
      float[] c1,
      float[] minusC2,
      float[] scale,
      int n) {
    for (int j = 0; j < n; j++) {
      float xm = (x[j] - mean[j]) - meanLow[j];
      g[j] = Math.fma(xm, minusC2[j], g[j] - c1[j]) * scale[j];
    }
  }
}
