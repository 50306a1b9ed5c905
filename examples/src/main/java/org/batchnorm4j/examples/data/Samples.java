package org.batchnorm4j.examples.data;

import java.util.random.RandomGenerator;
import org.batchnorm4j.tensor.Tensor;

/** Random input, where an example needs no real data. */
public final class Samples {
  private Samples() {}

  /** Normally distributed values. */
  public static Tensor normal(RandomGenerator random, double mean, double std, long... shape) {
    Tensor t = Tensor.zeros(shape);
    float[] values = new float[Math.toIntExact(t.size())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian(mean, std);
    }
    return t.copyFrom(values);
  }
}
