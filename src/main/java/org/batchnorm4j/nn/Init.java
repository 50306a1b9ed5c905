package org.batchnorm4j.nn;

import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.batchnorm4j.tensor.Tensor;

/** How Linear and the convolutions start, as in PyTorch. */
final class Init {
  private Init() {}

  /**
   * A weight or a bias, uniform within ±1/sqrt(fanIn). That is what PyTorch's {@code
   * kaiming_uniform_(a=sqrt(5))} comes to.
   */
  static Parameter uniform(RandomGenerator random, long fanIn, long... shape) {
    Tensor value = Tensor.zeros(shape);
    double bound = 1 / Math.sqrt(fanIn);
    float[] values = new float[Math.toIntExact(value.size())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) ((2 * random.nextDouble() - 1) * bound);
    }
    return Parameter.of(value.copyFrom(values));
  }

  /** The generator of constructors without one: the same for the same sizes. */
  static RandomGenerator byDefault(long... sizes) {
    long seed = 0;
    for (long size : sizes) {
      seed = 31 * seed + size;
    }
    return new SplittableRandom(seed);
  }

  static int atLeast(int minimum, String name, int value) {
    if (value < minimum) {
      throw new IllegalArgumentException(
          name + " must be at least " + minimum + ", but got " + value);
    }
    return value;
  }
}
