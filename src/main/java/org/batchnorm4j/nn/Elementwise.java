package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** A layer that maps every element by itself, in whatever order the elements lie. */
abstract class Elementwise extends Layer {
  private final ElementChunks chunks = new ElementChunks();

  /**
   * Maps the first {@code n} values in place; the first of them is element {@code at} in memory.
   */
  abstract void apply(float[] values, int n, long at);

  /** Turns the first {@code n} values of {@code dy} into those of dx, where the input was x. */
  abstract void applyGradient(float[] x, float[] dy, int n, long at);

  @Override
  final boolean isElementwise() {
    return true;
  }

  @Override
  public final Shape outputShape(Shape x) {
    return x;
  }

  @Override
  void compute(Tensor x, Tensor y) {
    chunks.forEach(
        x.size(),
        (values, ignored, at, n) -> {
          TensorAccess.read(x, at, values, 0, n);
          apply(values, n, at);
          TensorAccess.write(y, at, values, 0, n);
        });
  }

  @Override
  final void differentiate(Tensor x, Tensor dy, Tensor dx) {
    chunks.forEach(
        x.size(),
        (values, gradients, at, n) -> {
          TensorAccess.read(x, at, values, 0, n);
          TensorAccess.read(dy, at, gradients, 0, n);
          applyGradient(values, gradients, n, at);
          TensorAccess.write(dx, at, gradients, 0, n);
        });
  }
}
