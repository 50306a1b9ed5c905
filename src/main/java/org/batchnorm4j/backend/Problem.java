package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * What every layer below {@code nn} knows of a batch norm: N samples of C channels of S values,
 * where they lie, their type and what is fused behind the normalization. 1d, 2d and 3d are all
 * this; (N, C) input has S = 1.
 */
public record Problem(long n, long c, long s, Layout layout, DType dtype, Activation activation) {
  /**
   * @param layout taken for channels last where S = 1: both are then one, rows of C channels a
   *     pitch apart, and as such it is faster
   */
  public Problem {
    layout = s == 1 ? Layout.NSC : layout;
  }

  /** The problem that a tensor of shape (N, C, ...) is, of a type other than I64. */
  public static Problem of(Tensor x, Activation activation) {
    Shape shape = x.shape();
    long s = 1;
    for (int i = 2; i < shape.rank(); i++) {
      s *= shape.dim(i);
    }
    Layout layout = x.format() == MemoryFormat.CHANNELS_LAST ? Layout.NSC : Layout.NCS;
    return new Problem(shape.dim(0), shape.dim(1), s, layout, x.dtype(), activation);
  }

  /** Whether the problem's values, a tensor's pitch apart, are all within it, and of its type. */
  boolean fits(Tensor t) {
    if (t.dtype() != dtype) {
      return false;
    }
    if ((n | c | s) >>> 31 != 0) {
      // No tensor has so many, and the products below could overflow.
      return n == 0 || c == 0 || s == 0;
    }
    boolean rows = layout == Layout.NSC;
    long count = rows ? n * s : n;
    long length = rows ? c : c * s;
    if (count == 0 || length == 0) {
      return true;
    }
    if (count > Integer.MAX_VALUE || length > Integer.MAX_VALUE) {
      return false;
    }
    long end = (count - 1) * t.pitch() + length;
    return end <= Integer.MAX_VALUE && end * dtype.bytes() <= t.extent();
  }

  /** Whether the tensor has a value of that type for each channel. */
  boolean fitsPerChannel(Tensor t, DType type) {
    return t.dtype() == type && t.extent() >= c * type.bytes() && t.isContiguous();
  }

  /** Values per channel, N * S. */
  public long valuesPerChannel() {
    return n * s;
  }
}
