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
  private @Nullable Tensor proposedMemory;
  private @Nullable Tensor proposed;

  /** The slot's tensor in this shape. Its values are whatever they were. */
  Tensor get(DType dtype, MemoryFormat format, Shape shape) {
    Tensor t = propose(dtype, format, shape);
    adopt();
    return t;
  }

  /** A tensor like {@code other}. */
  Tensor like(Tensor other) {
    return get(other.dtype(), other.format(), other.shape());
  }

  /**
   * What {@link #like} would give, without giving up the tensor held now: for a call that may yet
   * fail. {@link #adopt} completes the exchange; without it nothing has happened.
   */
  Tensor propose(Tensor other) {
    return propose(other.dtype(), other.format(), other.shape());
  }

  /** What {@link #get} would give; otherwise as {@link #propose(Tensor)}. */
  Tensor propose(DType dtype, MemoryFormat format, Shape shape) {
    closeRefused();
    Tensor last = current;
    if (last != null && matches(last, dtype, format, shape)) {
      proposedMemory = memory;
      proposed = last;
      return last;
    }
    Tensor held = memory;
    if (held == null || held.dtype() != dtype || held.size() < shape.size()) {
      held = Tensor.zeros(dtype, shape.size());
    }
    proposedMemory = held;
    proposed = held.view(format, shape);
    return proposed;
  }

  /** Makes the tensor of the last {@link #propose} the slot's. */
  void adopt() {
    if (memory != null && memory != proposedMemory) {
      memory.close();
    }
    memory = proposedMemory;
    current = proposed;
    proposedMemory = null;
    proposed = null;
  }

  /** What was proposed to a call that failed then. */
  private void closeRefused() {
    if (proposedMemory != null && proposedMemory != memory) {
      proposedMemory.close();
    }
    proposedMemory = null;
    proposed = null;
  }

  private static boolean matches(Tensor t, DType dtype, MemoryFormat format, Shape shape) {
    return t.dtype() == dtype && t.format() == format && t.shape().equals(shape);
  }

  /** Whether writing to this slot would overwrite {@code tensor}. */
  boolean overlaps(Tensor tensor) {
    return memory != null && memory.overlaps(tensor);
  }

  @Override
  public void close() {
    closeRefused();
    if (memory != null) {
      memory.close();
    }
    memory = null;
    current = null;
  }
}
