package org.batchnorm4j.tensor;

import java.util.Arrays;

/**
 * The immutable dimensions of a tensor, outermost first. A shape without dimensions is a scalar's.
 */
public final class Shape {
  private final long[] dims;
  private final long size;

  private Shape(long[] dims) {
    long size = 1;
    for (int i = 0; i < dims.length; i++) {
      if (dims[i] < 0) {
        throw new IllegalArgumentException(
            "shape " + Arrays.toString(dims) + ": dimension " + i + " is negative");
      }
      try {
        size = Math.multiplyExact(size, dims[i]);
      } catch (ArithmeticException e) {
        throw new IllegalArgumentException(
            "shape " + Arrays.toString(dims) + " has more than 2^63-1 elements", e);
      }
    }
    this.dims = dims;
    this.size = size;
  }

  /** The shape with these dimensions. */
  public static Shape of(long... dims) {
    return new Shape(dims.clone());
  }

  /** The number of dimensions. */
  public int rank() {
    return dims.length;
  }

  /** The size of dimension {@code i}. */
  public long dim(int i) {
    return dims[i];
  }

  /** The number of elements. */
  public long size() {
    return size;
  }

  /** A copy of the dimensions. */
  public long[] toArray() {
    return dims.clone();
  }

  /** This shape with dimension {@code i} set to {@code size}. */
  public Shape with(int i, long size) {
    long[] copy = dims.clone();
    copy[i] = size;
    return new Shape(copy);
  }

  /** Whether the last dimensions are all of {@code other}'s. */
  public boolean endsWith(Shape other) {
    int from = dims.length - other.dims.length;
    return from >= 0 && Arrays.equals(dims, from, dims.length, other.dims, 0, other.dims.length);
  }

  @Override
  public boolean equals(Object o) {
    return o instanceof Shape other && Arrays.equals(dims, other.dims);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(dims);
  }

  /** PyTorch's form, such as {@code [1, 10, 1]}. */
  @Override
  public String toString() {
    return Arrays.toString(dims);
  }
}
