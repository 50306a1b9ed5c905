package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * From (N, C, spatial...) to (N, C * spatial...), like {@code torch.nn.Flatten}. The output is a
 * view of the input and the gradient a view of the gradient: nothing is copied. Contiguous,
 * channels first.
 */
public final class Flatten extends Module {
  private @Nullable Tensor lastX;
  private @Nullable Tensor lastY;

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code x} has no dimensions, is not f32, or is not
   *     contiguous and channels first
   * @throws IllegalStateException if {@code x} is closed
   */
  @Override
  public Tensor forward(Tensor x) {
    Layer.checkFloats("Flatten", "x", x);
    Layer.checkRowMajor("Flatten", x);
    Tensor y = x.view(MemoryFormat.CHANNELS_FIRST, outputShape(x.shape()));
    lastX = x;
    lastY = y;
    return y;
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code dy} is not f32, or differs from the output in shape
   *     or memory format
   * @throws IllegalStateException if there was no forward, or {@code dy} is closed
   */
  @Override
  public Tensor backward(Tensor dy) {
    if (lastX == null || lastY == null) {
      throw new IllegalStateException(
          "Flatten.backward needs the shape of a forward: call forward first");
    }
    Layer.checkFloats("Flatten", "dy", dy);
    Layer.checkGradient("Flatten", dy, lastY);
    return dy.view(lastX.format(), lastX.shape());
  }

  @Override
  public Shape outputShape(Shape x) {
    if (x.rank() == 0) {
      throw new IllegalArgumentException("x has no dimensions, but Flatten keeps the first one");
    }
    long features = 1;
    for (int i = 1; i < x.rank(); i++) {
      features *= x.dim(i);
    }
    return Shape.of(x.dim(0), features);
  }

  @Override
  Module copy() {
    return withState(new Flatten());
  }

  @Override
  public String toString() {
    return "Flatten(start_dim=1, end_dim=-1)";
  }
}
