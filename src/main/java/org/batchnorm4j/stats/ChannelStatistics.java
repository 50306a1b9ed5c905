package org.batchnorm4j.stats;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;

/**
 * Count, mean and sum of squared deviations of every channel of any number of batches, in f64.
 * Those of a batch are computed as for its normalization (docs/numerics.md).
 *
 * <p>Statistics of parts merge into those of the whole by the formula of Chan, Golub and LeVeque:
 * variances are pooled, not averaged, however unequal the parts. The order of merging matters to
 * rounding only; the same order gives the same bits.
 *
 * <p>A call that throws has changed nothing. Not for several threads at once: let each have its
 * own, and merge them.
 */
public final class ChannelStatistics {
  private static final int MAGIC = 0x73346e62; // "bn4s", little-endian
  private static final int HEADER_BYTES = 16;

  private final double[] mean;
  private final double[] m2;
  private long count;

  /**
   * Of no values yet.
   *
   * @param channels at least 1
   */
  public ChannelStatistics(int channels) {
    if (channels < 1) {
      throw new IllegalArgumentException("channels must be at least 1, but got " + channels);
    }
    mean = new double[channels];
    m2 = new double[channels];
  }

  /** Of the values of {@code x}, which is as in {@link #add(Tensor)}. */
  public static ChannelStatistics of(Tensor x) {
    checkInput(x);
    return new ChannelStatistics(Math.toIntExact(x.shape().dim(1))).add(x);
  }

  /** {@link #add(Tensor, BatchNormBackend)} on {@link Backends#best()}. */
  public ChannelStatistics add(Tensor x) {
    return add(x, Backends.best());
  }

  /**
   * Adds a batch, of which nothing is kept.
   *
   * @param x (N, C, ...) of type F32, F64, BF16 or F16 in any memory format; may be empty
   * @return this
   * @throws IllegalArgumentException if {@code x} is something else, or has other channels
   * @throws IllegalStateException if {@code x} is closed
   */
  public ChannelStatistics add(Tensor x, BatchNormBackend backend) {
    checkInput(x);
    if (x.shape().dim(1) != mean.length) {
      throw new IllegalArgumentException(
          "x has " + x.shape().dim(1) + " channels, these statistics are of " + mean.length);
    }
    Problem problem = Problem.of(x, Activation.NONE);
    if (problem.valuesPerChannel() > 0) {
      try (Tensor ofMean = Tensor.zeros(DType.F64, mean.length);
          Tensor ofM2 = Tensor.zeros(DType.F64, mean.length)) {
        backend.statistics(problem, x, ofMean, ofM2);
        merge(problem.valuesPerChannel(), ofMean.toDoubleArray(), ofM2.toDoubleArray());
      }
    }
    return this;
  }

  private static void checkInput(Tensor x) {
    if (x.isClosed()) {
      throw new IllegalStateException("x is closed; its memory has been given back");
    }
    if (x.shape().rank() < 2 || x.dtype() == DType.I64) {
      throw new IllegalArgumentException(
          "x must be (N, C, ...) in F32, F64, BF16 or F16, but is " + x);
    }
  }

  /**
   * Adds the values that {@code other} stands for; it stays as it is.
   *
   * @return this
   * @throws IllegalArgumentException if {@code other} is of another number of channels
   */
  public ChannelStatistics merge(ChannelStatistics other) {
    if (other.mean.length != mean.length) {
      throw new IllegalArgumentException(
          "other is of " + other.mean.length + " channels, these statistics are of " + mean.length);
    }
    merge(other.count, other.mean, other.m2);
    return this;
  }

  private void merge(long countB, double[] meanB, double[] m2B) {
    if (countB == 0) {
      return;
    }
    long total = Math.addExact(count, countB);
    if (count == 0) {
      System.arraycopy(meanB, 0, mean, 0, mean.length);
      System.arraycopy(m2B, 0, m2, 0, m2.length);
    } else {
      double w = (double) countB / total;
      for (int c = 0; c < mean.length; c++) {
        double delta = meanB[c] - mean[c];
        m2[c] = Math.fma(delta * delta, count * w, m2[c] + m2B[c]);
        mean[c] = Math.fma(delta, w, mean[c]);
      }
    }
    count = total;
  }

  /** The number of channels. */
  public int channels() {
    return mean.length;
  }

  /** The number of values of each channel. */
  public long count() {
    return count;
  }

  /** A copy of the means; NaN where there are no values. */
  public double[] mean() {
    double[] copy = mean.clone();
    if (count == 0) {
      Arrays.fill(copy, Double.NaN);
    }
    return copy;
  }

  /**
   * The variances; NaN where there are too few values.
   *
   * @param unbiased divided by one less than the count, as running variances are; if not, by the
   *     count, as for normalizing
   */
  public double[] variance(boolean unbiased) {
    double[] variance = m2.clone();
    int least = unbiased ? 2 : 1;
    for (int c = 0; c < variance.length; c++) {
      variance[c] = count < least ? Double.NaN : variance[c] / (unbiased ? count - 1 : count);
    }
    return variance;
  }

  /**
   * Makes these the running statistics of a batch norm: mean and unbiased variance.
   *
   * @param runningMean C elements in F32 or F64
   * @param runningVar likewise
   * @throws IllegalArgumentException if one of them has another size or type, is read-only, or
   *     shares memory with another
   * @throws IllegalStateException if there are less than two values per channel, or a tensor is
   *     closed
   */
  public void toRunningStats(Tensor runningMean, Tensor runningVar) {
    checkRunning(runningMean, runningVar);
    runningMean.copyFrom(mean);
    runningVar.copyFrom(variance(true));
  }

  /**
   * Moves running statistics towards these as a training forward does: {@code running = momentum *
   * this + (1 - momentum) * running}, with the unbiased variance. Otherwise as {@link
   * #toRunningStats}.
   *
   * @param momentum the weight of these statistics, finite
   */
  public void updateRunningStats(Tensor runningMean, Tensor runningVar, double momentum) {
    if (!Double.isFinite(momentum)) {
      throw new IllegalArgumentException("momentum must be finite, but got " + momentum);
    }
    checkRunning(runningMean, runningVar);
    runningMean.copyFrom(moved(runningMean.toDoubleArray(), mean, momentum));
    runningVar.copyFrom(moved(runningVar.toDoubleArray(), variance(true), momentum));
  }

  private static double[] moved(double[] running, double[] towards, double momentum) {
    for (int c = 0; c < running.length; c++) {
      running[c] = Math.fma(momentum, towards[c], (1 - momentum) * running[c]);
    }
    return running;
  }

  private void checkRunning(Tensor runningMean, Tensor runningVar) {
    checkPerChannel("running_mean", runningMean);
    checkPerChannel("running_var", runningVar);
    checkApart("running_var", runningVar, "running_mean", runningMean);
    if (count < 2) {
      throw new IllegalStateException(
          "running statistics need at least 2 values per channel, but these are of " + count);
    }
  }

  /**
   * What a training forward over all these values would save for its backward: mean and {@code 1 /
   * sqrt(variance + eps)} with the biased variance.
   *
   * @param eps &gt; 0
   * @param saved overwritten; C elements each, in F32 or F64
   * @throws IllegalArgumentException if one of them has another size or type, is read-only, or
   *     shares memory with another
   * @throws IllegalStateException if there are no values, or a tensor is closed
   */
  public void save(double eps, SavedStatistics saved) {
    if (!(eps > 0)) {
      throw new IllegalArgumentException("eps must be > 0, but got " + eps);
    }
    checkPerChannel("saved.mean", saved.mean());
    checkPerChannel("saved.meanLow", saved.meanLow());
    checkPerChannel("saved.invStd", saved.invStd());
    checkApart("saved.meanLow", saved.meanLow(), "saved.mean", saved.mean());
    checkApart("saved.invStd", saved.invStd(), "saved.mean", saved.mean());
    checkApart("saved.invStd", saved.invStd(), "saved.meanLow", saved.meanLow());
    if (count == 0) {
      throw new IllegalStateException("these statistics are of no values: add a batch first");
    }
    double[] invStd = variance(false);
    for (int c = 0; c < invStd.length; c++) {
      invStd[c] = 1 / Math.sqrt(invStd[c] + eps);
    }
    double[] low = saved.mean().copyFrom(mean).toDoubleArray();
    for (int c = 0; c < low.length; c++) {
      low[c] = mean[c] - low[c];
    }
    saved.meanLow().copyFrom(low);
    saved.invStd().copyFrom(invStd);
  }

  private void checkPerChannel(String name, Tensor t) {
    if (t.isClosed()) {
      throw new IllegalStateException(name + " is closed; its memory has been given back");
    }
    t.checkUsable();
    if (t.size() != mean.length) {
      throw new IllegalArgumentException(
          name + " should contain " + mean.length + " elements not " + t.size());
    }
    if (t.dtype() != DType.F32 && t.dtype() != DType.F64) {
      throw new IllegalArgumentException(name + " must be F32 or F64, but is " + t.dtype());
    }
    if (t.isReadOnly()) {
      throw new IllegalArgumentException(
          name + " wraps memory that is read-only; it must be writable");
    }
  }

  private static void checkApart(String name, Tensor t, String otherName, Tensor other) {
    if (t.overlaps(other)) {
      throw new IllegalArgumentException(
          name + " shares memory with " + otherName + "; it must have memory of its own");
    }
  }

  /**
   * A fixed form for files and networks, little-endian: the bytes {@code bn4s}, the number of
   * channels (i32), the count (i64), then all means and all sums of squared deviations (f64).
   */
  public byte[] toBytes() {
    ByteBuffer bytes = ByteBuffer.allocate(HEADER_BYTES + 16 * mean.length);
    bytes.order(ByteOrder.LITTLE_ENDIAN).putInt(MAGIC).putInt(mean.length).putLong(count);
    bytes.asDoubleBuffer().put(mean).put(m2);
    return bytes.array();
  }

  /**
   * Reads what {@link #toBytes} wrote.
   *
   * @throws IllegalArgumentException if the bytes are anything else
   */
  public static ChannelStatistics fromBytes(byte[] bytes) {
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.length < HEADER_BYTES || in.getInt() != MAGIC) {
      throw new IllegalArgumentException(
          "bytes are not those of channel statistics: the first four should be bn4s");
    }
    int channels = in.getInt();
    long count = in.getLong();
    if (channels < 1 || count < 0) {
      throw new IllegalArgumentException(
          "bytes are damaged: they have " + channels + " channels of " + count + " values");
    }
    if (bytes.length != HEADER_BYTES + 16L * channels) {
      throw new IllegalArgumentException(
          channels
              + " channels need "
              + (HEADER_BYTES + 16L * channels)
              + " bytes, but there are "
              + bytes.length);
    }
    ChannelStatistics read = new ChannelStatistics(channels);
    in.asDoubleBuffer().get(read.mean).get(read.m2);
    for (int c = 0; c < channels; c++) {
      if (read.m2[c] < 0) {
        throw new IllegalArgumentException(
            "bytes are damaged: channel " + c + " has squared deviations of " + read.m2[c]);
      }
    }
    read.count = count;
    return read;
  }

  /** Such as {@code ChannelStatistics(64 channels of 6272 values)}. */
  @Override
  public String toString() {
    return "ChannelStatistics(" + mean.length + " channels of " + count + " values)";
  }
}
