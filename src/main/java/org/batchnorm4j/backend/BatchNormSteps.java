package org.batchnorm4j.backend;

import java.util.Arrays;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The steps of {@link BatchNormBackend#training} and {@link BatchNormBackend#backwardTraining},
 * each alone, so that what is between them can be exchanged with other workers: statistics, then
 * the normalization with given statistics; sums of gradients, then the input's gradient from given
 * sums.
 *
 * <p>In Java on the caller's thread, computed in f64 and rounded once, so at least as exact as the
 * backends, though not with their bits. As them it trusts its arguments.
 */
public final class BatchNormSteps {
  private static final int BLOCK = 1024;

  private BatchNormSteps() {}

  /**
   * The mean and the sum of squared deviations from it of every channel, by two passes.
   *
   * @param problem with values; its activation does not matter
   * @param mean C values, overwritten
   * @param m2 C values, overwritten
   */
  public static void statistics(Problem problem, Tensor x, double[] mean, double[] m2) {
    int channels = (int) problem.c();
    double count = problem.valuesPerChannel();
    double[] values = new double[BLOCK];
    float[] floats = new float[BLOCK];
    double[] sum = new double[channels];
    Arrays.fill(m2, 0);
    use(
        () -> {
          forEachBlock(
              problem,
              (row, at, c, step, n) -> {
                read(x, row, at, values, floats, n);
                for (int i = 0; i < n; i++) {
                  sum[c + step * i] += values[i];
                }
              });
          for (int c = 0; c < channels; c++) {
            mean[c] = sum[c] / count;
          }
          Arrays.fill(sum, 0);
          forEachBlock(
              problem,
              (row, at, c, step, n) -> {
                read(x, row, at, values, floats, n);
                for (int i = 0; i < n; i++) {
                  double d = values[i] - mean[c + step * i];
                  sum[c + step * i] += d;
                  m2[c + step * i] = Math.fma(d, d, m2[c + step * i]);
                }
              });
          for (int c = 0; c < channels; c++) {
            // What the first pass's rounding has left of the mean.
            double rest = sum[c] / count;
            mean[c] += rest;
            double corrected = Math.fma(-sum[c], rest, m2[c]);
            m2[c] = corrected < 0 ? 0 : corrected;
          }
        },
        x);
  }

  /**
   * {@code y = (x - mean) * (invStd * weight) + bias} with given statistics.
   *
   * @param y may be the memory of {@code x}
   * @param weight null for 1
   * @param bias null for 0
   */
  public static void normalize(
      Problem problem,
      Tensor x,
      Tensor y,
      SavedStatistics statistics,
      @Nullable Tensor weight,
      @Nullable Tensor bias) {
    double[] values = new double[BLOCK];
    float[] floats = new float[BLOCK];
    double[] mean = statistics.mean().toDoubleArray();
    double[] meanLow = statistics.meanLow().toDoubleArray();
    double[] scale = scale(statistics, weight);
    double[] shift = bias == null ? new double[mean.length] : bias.toDoubleArray();
    use(
        () ->
            forEachBlock(
                problem,
                (row, at, c, step, n) -> {
                  read(x, row, at, values, floats, n);
                  for (int i = 0; i < n; i++) {
                    int k = c + step * i;
                    double d = (values[i] - mean[k]) - meanLow[k];
                    values[i] = Math.fma(d, scale[k], shift[k]);
                  }
                  write(y, row, at, values, floats, n);
                }),
        x,
        y);
  }

  /**
   * Of every channel the sums of {@code dy} and of {@code dy * (x - mean)}.
   *
   * @param dy in {@code x}'s layout
   * @param sumDy C values, overwritten
   * @param dot C values, overwritten
   */
  public static void gradientSums(
      Problem problem,
      Tensor dy,
      Tensor x,
      SavedStatistics statistics,
      double[] sumDy,
      double[] dot) {
    double[] values = new double[BLOCK];
    double[] gradients = new double[BLOCK];
    float[] floats = new float[BLOCK];
    double[] mean = statistics.mean().toDoubleArray();
    double[] meanLow = statistics.meanLow().toDoubleArray();
    Arrays.fill(sumDy, 0);
    Arrays.fill(dot, 0);
    use(
        () ->
            forEachBlock(
                problem,
                (row, at, c, step, n) -> {
                  read(x, row, at, values, floats, n);
                  read(dy, row, at, gradients, floats, n);
                  for (int i = 0; i < n; i++) {
                    int k = c + step * i;
                    double d = (values[i] - mean[k]) - meanLow[k];
                    sumDy[k] += gradients[i];
                    dot[k] = Math.fma(gradients[i], d, dot[k]);
                  }
                }),
        dy,
        x);
  }

  /**
   * {@code dx = (dy - sumDy / count - (x - mean) * (dot * invStd^2 / count)) * (invStd * weight)}
   * with given sums.
   *
   * @param count values per channel that the sums are of
   * @param dx may be the memory of {@code dy} or {@code x}
   */
  public static void inputGradient(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor weight,
      SavedStatistics statistics,
      double[] sumDy,
      double[] dot,
      long count,
      Tensor dx) {
    double[] values = new double[BLOCK];
    double[] gradients = new double[BLOCK];
    float[] floats = new float[BLOCK];
    double[] mean = statistics.mean().toDoubleArray();
    double[] meanLow = statistics.meanLow().toDoubleArray();
    double[] invStd = statistics.invStd().toDoubleArray();
    double[] scale = scale(statistics, weight);
    double[] c1 = new double[invStd.length];
    double[] minusC2 = new double[invStd.length];
    for (int c = 0; c < invStd.length; c++) {
      c1[c] = sumDy[c] / count;
      minusC2[c] = -(dot[c] * invStd[c] * invStd[c] / count);
    }
    use(
        () ->
            forEachBlock(
                problem,
                (row, at, c, step, n) -> {
                  read(x, row, at, values, floats, n);
                  read(dy, row, at, gradients, floats, n);
                  for (int i = 0; i < n; i++) {
                    int k = c + step * i;
                    double d = (values[i] - mean[k]) - meanLow[k];
                    gradients[i] = Math.fma(d, minusC2[k], gradients[i] - c1[k]) * scale[k];
                  }
                  write(dx, row, at, gradients, floats, n);
                }),
        dy,
        x,
        dx);
  }

  private static double[] scale(SavedStatistics statistics, @Nullable Tensor weight) {
    double[] scale = statistics.invStd().toDoubleArray();
    if (weight != null) {
      double[] w = weight.toDoubleArray();
      for (int c = 0; c < scale.length; c++) {
        scale[c] *= w[c];
      }
    }
    return scale;
  }

  private interface Block {
    /**
     * Takes {@code n} neighbouring elements, {@code at} behind the start of a row of memory.
     *
     * @param c the channel of the first; that of the others is {@code step} further each
     */
    void accept(long row, long at, int c, int step, int n);
  }

  /** Goes through all elements, in the order that they have in memory. */
  private static void forEachBlock(Problem problem, Block block) {
    boolean channelsLast = problem.layout() == Layout.NSC;
    long rows = channelsLast ? problem.n() * problem.s() : problem.n();
    long runs = channelsLast ? 1 : problem.c();
    long length = channelsLast ? problem.c() : problem.s();
    for (long row = 0; row < rows; row++) {
      for (int run = 0; run < runs; run++) {
        for (long i = 0; i < length; i += BLOCK) {
          int n = (int) Math.min(BLOCK, length - i);
          int c = channelsLast ? (int) i : run;
          block.accept(row, run * length + i, c, channelsLast ? 1 : 0, n);
        }
      }
    }
  }

  private static void read(Tensor t, long row, long at, double[] to, float[] floats, int n) {
    long position = t.offset() + row * t.pitch() + at;
    if (t.dtype() == DType.F64) {
      t.read(position, to, 0, n);
      return;
    }
    t.read(position, floats, 0, n);
    for (int i = 0; i < n; i++) {
      to[i] = floats[i];
    }
  }

  private static void write(Tensor t, long row, long at, double[] from, float[] floats, int n) {
    long position = t.offset() + row * t.pitch() + at;
    if (t.dtype() == DType.F64) {
      t.write(position, from, 0, n);
      return;
    }
    for (int i = 0; i < n; i++) {
      floats[i] = (float) from[i];
    }
    t.write(position, floats, 0, n);
  }

  private static void use(Runnable body, Tensor... tensors) {
    InUse.acquire(tensors);
    try {
      body.run();
    } finally {
      InUse.release(tensors);
    }
  }
}
