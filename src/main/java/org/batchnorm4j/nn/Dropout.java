package org.batchnorm4j.nn;

import java.util.random.RandomGenerator;
import org.batchnorm4j.tensor.Tensor;

/**
 * In training, sets each element to zero with probability p and multiplies the others by 1 / (1 -
 * p), like {@code torch.nn.Dropout}; in evaluation mode it returns its very input. Any shape, any
 * contiguous memory format, which the output keeps. f32.
 *
 * <p>Which elements are dropped is a function of the seed, of how many elements earlier training
 * forwards had, and of the element's place in memory: the same for any number of threads.
 */
public final class Dropout extends Elementwise {
  /** 2^64 divided by the golden ratio, odd: multiples of it visit all 64-bit numbers. */
  private static final long GAMMA = 0x9e3779b97f4a7c15L;

  private static final long DEFAULT_SEED = 0x64726f706f7574L;

  private final double p;
  private final long seed;

  /** The number of elements that training forwards have seen, and that before the last forward. */
  private long drawn;

  private long start;

  /** With PyTorch's p of 0.5 and a fixed seed. */
  public Dropout() {
    this(0.5);
  }

  /** With a fixed seed: every instance drops the same elements. */
  public Dropout(double p) {
    this(p, DEFAULT_SEED);
  }

  /** With a seed drawn from {@code random}. */
  public Dropout(double p, RandomGenerator random) {
    this(p, random.nextLong());
  }

  /**
   * Drops elements by this seed.
   *
   * @param p the probability of being dropped, 0 to 1
   * @throws IllegalArgumentException if {@code p} is not between 0 and 1
   */
  public Dropout(double p, long seed) {
    if (!(p >= 0 && p <= 1)) {
      throw new IllegalArgumentException("p must be between 0 and 1, but got " + p);
    }
    this.p = p;
    this.seed = seed;
  }

  /** The probability of being dropped. */
  public double p() {
    return p;
  }

  /** It starts anew: what it drops first is what this one dropped first. */
  @Override
  Dropout copy() {
    return withState(new Dropout(p, seed));
  }

  @Override
  boolean isIdentity() {
    return !isTraining();
  }

  @Override
  void compute(Tensor x, Tensor y) {
    start = drawn;
    drawn += x.size();
    super.compute(x, y);
  }

  @Override
  void apply(float[] values, int n, long at) {
    float scale = (float) (1 / (1 - p));
    long limit = (long) (p * 0x1p32);
    for (int i = 0; i < n; i++) {
      long random = mix(seed + (start + at + i) * GAMMA) >>> 32;
      values[i] *= random >= limit ? scale : 0;
    }
  }

  @Override
  void applyGradient(float[] x, float[] dy, int n, long at) {
    // The mask is not kept: it is drawn again.
    apply(dy, n, at);
  }

  /** The finalizer of SplitMix64 (Steele, Lea and Flood, 2014; constants by Stafford). */
  private static long mix(long z) {
    z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
    z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
    return z ^ z >>> 31;
  }

  @Override
  String options() {
    return "p=" + p + ", inplace=False";
  }
}
