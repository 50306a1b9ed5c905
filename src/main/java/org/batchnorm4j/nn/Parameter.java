package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Tensor;

/**
 * A trained tensor and its gradient, which has the same shape, type and order in memory. Layers
 * write the gradient in {@code backward} (they do not accumulate); optimizers read it.
 *
 * @param value what the layer computes with
 * @param grad the gradient of the last backward
 */
public record Parameter(Tensor value, Tensor grad) implements AutoCloseable {
  /**
   * @throws IllegalArgumentException if the gradient's shape, type or memory format are not the
   *     value's, one of the two has gaps, or they share memory
   */
  public Parameter {
    if (!grad.shape().equals(value.shape())
        || grad.dtype() != value.dtype()
        || grad.format() != value.format()
        || !grad.isContiguous()
        || !value.isContiguous()) {
      throw new IllegalArgumentException(
          "grad must be like value, and both contiguous, but grad is "
              + grad
              + " and value is "
              + value
              + "; make one with Tensor.zerosLike(value)");
    }
    if (grad.overlaps(value)) {
      throw new IllegalArgumentException(
          "grad shares memory with value, so that one would overwrite the other; make one with"
              + " Tensor.zerosLike(value)");
    }
  }

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
