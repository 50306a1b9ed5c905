package org.batchnorm4j.nn;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A tensor that a layer keeps for its output: the same one again for the same shape, so that steady
 * state allocates nothing; a larger one, the old closed, when it no longer fits.
 */
final class Slot implements AutoCloseable {
  private @Nullable Tensor memory;
  private @Nullable Tensor current;

  /** The slot's tensor in this shape. Its values are whatever they were. */
  Tensor get(DType dtype, MemoryFormat format, Shape shape) {
    Tensor last = current;
    if (last != null
        && last.dtype() == dtype
        && last.format() == format
        && last.shape().equals(shape)) {
      return last;
    }
    Tensor held = memory;
    if (held == null || held.dtype() != dtype || held.size() < shape.size()) {
      close();
      held = Tensor.zeros(dtype, shape.size());
      memory = held;
    }
    current = held.view(format, shape);
    return current;
  }

  /** A tensor like {@code other}. */
  Tensor like(Tensor other) {
    return get(other.dtype(), other.format(), other.shape());
  }

  /** Whether writing to this slot would overwrite {@code tensor}. */
  boolean overlaps(Tensor tensor) {
    return memory != null && memory.overlaps(tensor);
  }

  @Override
  public void close() {
    if (memory != null) {
      memory.close();
    }
    memory = null;
    current = null;
  }
}
