package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.Tensor;

/**
 * The loops of docs/numerics.md over arrays of one element type of the arithmetic, {@code float[]}
 * or {@code double[]}. What does not loop over such arrays is written once, outside.
 *
 * <p>Java cannot write a loop once for both: its generics do not reach primitives. So the two
 * subclasses are copies of each other, and hold nothing but loops.
 *
 * <p>The loops start at index 0 of every array and do one thing each, because that is what C2 turns
 * into vector instructions. An instance holds scratch: it belongs to one thread.
 *
 * @param <A> the array type
 */
abstract class Kernels<A> {

  abstract A allocate(int length);

  /** {@code count} arrays, yet to be allocated. */
  abstract A[] allocateRows(int count);

  abstract int length(A a);

  abstract void read(Tensor from, long position, A to, int at, int length);

  abstract void write(Tensor to, long position, A from, int at, int length);

  /**
   * As {@link System#arraycopy}, which is slow where the compiler does not know the array's type.
   */
  abstract void copy(A from, int at, A to, int toAt, int length);

  abstract double get(A from, int index);

  /** Stores the rounded value, and returns it. */
  abstract double set(A to, int index, double value);

  /** Sets {@code to[from..end)} to a rounded value. */
  abstract void fill(A to, int from, int end, double value);

  // ----------------------------------------------------------------------------------- reductions

  /**
   * Lays columns that are behind each other, {@code length} values each, into rows of 16 values.
   */
  abstract void arrange(A linear, int columns, int length, A[] rows);

  /** First value, shift, S1 and S2 of every column. */
  abstract void statistics(A[] rows, Chunks chunks, ChunkSums out);

  /** A and B of every column. {@code mean} and {@code meanLow} lie like one row. */
  abstract void gradientSums(A[] g, A[] x, Chunks chunks, A mean, A meanLow, ChunkSums out);

  // ---------------------------------------------------------------------------- element by element

  /** {@code to = 1 / sqrt(E(variance + eps))}. */
  abstract void invStd(A variance, double eps, A to, int n);

  /** {@code a = a * b}. */
  abstract void multiply(A a, A b, int n);

  /** {@code a = a + b}. */
  abstract void add(A a, A b, int n);

  /** {@code x = fma((x - mean) - meanLow, scale, bias)}. */
  abstract void normalize(A x, A mean, A meanLow, A scale, A bias, int n);

  /** {@code t = activation(t)}. */
  abstract void activate(A t, Activation activation, int n);

  /**
   * From the gradient behind the activation the one before it, given the activation's output.
   *
   * @param zero the largest y that counts as not positive
   */
  abstract void mask(A dy, A y, double zero, Activation activation, int n);

  /** {@code g = fma((x - mean) - meanLow, -c2, g - c1) * scale}. */
  abstract void gradient(A g, A x, A mean, A meanLow, A c1, A minusC2, A scale, int n);
}
