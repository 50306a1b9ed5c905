package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;

/**
 * The batch statistics that a training forward leaves for its backward; one value per channel each,
 * in the parameter type. The mean is {@code mean + meanLow}: a mean much larger than the standard
 * deviation would lose the difference to one rounded number (docs/numerics.md).
 */
public record SavedStatistics(Tensor mean, Tensor meanLow, Tensor invStd) implements AutoCloseable {

  /** Statistics of {@code channels} channels, to be filled by a training forward. */
  public static SavedStatistics allocate(DType parameterType, long channels) {
    return new SavedStatistics(
        Tensor.zeros(parameterType, channels),
        Tensor.zeros(parameterType, channels),
        Tensor.zeros(parameterType, channels));
  }

  @Override
  public void close() {
    mean.close();
    meanLow.close();
    invStd.close();
  }
}
