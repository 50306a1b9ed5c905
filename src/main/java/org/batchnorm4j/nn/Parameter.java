package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Tensor;

/**
 * A trained tensor and its gradient, which has the same shape and type. Layers write the gradient
 * in {@code backward} (they do not accumulate); optimizers read it.
 *
 * @param value what the layer computes with
 * @param grad the gradient of the last backward
 */
public record Parameter(Tensor value, Tensor grad) implements AutoCloseable {

  /** A parameter with this value and a gradient of zeros. */
  public static Parameter of(Tensor value) {
    return new Parameter(value, Tensor.zerosLike(value));
  }

  @Override
  public void close() {
    value.close();
    grad.close();
  }
}
