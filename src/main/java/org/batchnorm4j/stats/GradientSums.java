package org.batchnorm4j.stats;

/**
 * What the gradient of a batch norm needs to know of the whole batch: of every channel the sums of
 * {@code dy} and of {@code dy * (x - mean)}, in f64, and the number of values. Sums of parts merge
 * into those of the whole by addition.
 *
 * <p>Not for several threads at once.
 */
public final class GradientSums {
  private final double[] sumDy;
  private final double[] dot;
  private long count;

  /**
   * With copies of these sums, such as another worker has sent.
   *
   * @param count values per channel
   * @param sumDy of every channel the sum of {@code dy}
   * @param dot of every channel the sum of {@code dy * (x - mean)}
   */
  public GradientSums(long count, double[] sumDy, double[] dot) {
    if (count < 0) {
      throw new IllegalArgumentException("count must not be negative, but got " + count);
    }
    if (sumDy.length < 1 || sumDy.length != dot.length) {
      throw new IllegalArgumentException(
          "sumDy and dot must have one value per channel, but have "
              + sumDy.length
              + " and "
              + dot.length);
    }
    this.count = count;
    this.sumDy = sumDy.clone();
    this.dot = dot.clone();
  }

  /**
   * Adds another worker's sums, which stay as they are.
   *
   * @return this
   * @throws IllegalArgumentException if they are of another number of channels
   */
  public GradientSums merge(GradientSums other) {
    if (other.channels() != channels()) {
      throw new IllegalArgumentException(
          "other is of " + other.channels() + " channels, these sums are of " + channels());
    }
    long total = Math.addExact(count, other.count);
    for (int c = 0; c < sumDy.length; c++) {
      sumDy[c] += other.sumDy[c];
      dot[c] += other.dot[c];
    }
    count = total;
    return this;
  }

  /** The number of channels. */
  public int channels() {
    return sumDy.length;
  }

  /** The number of values of each channel. */
  public long count() {
    return count;
  }

  /** A copy of the sums of {@code dy}: the gradient of the bias. */
  public double[] sumDy() {
    return sumDy.clone();
  }

  /** A copy of the sums of {@code dy * (x - mean)}: the gradient of the weight, over invStd. */
  public double[] dot() {
    return dot.clone();
  }

  /** Such as {@code GradientSums(64 channels of 6272 values)}. */
  @Override
  public String toString() {
    return "GradientSums(" + channels() + " channels of " + count + " values)";
  }
}
