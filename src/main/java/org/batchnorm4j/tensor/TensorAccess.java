package org.batchnorm4j.tensor;

import org.jspecify.annotations.Nullable;

/**
 * The memory of a tensor, for the code that computes on it: of this library, of tests and of
 * benchmarks. Not for applications, which have all they need in {@link Tensor}: memory that is used
 * without {@link #acquire}, or after {@link #release}, may be gone, which ends the JVM, and no
 * method looks whether it is.
 */
public final class TensorAccess {
  private TensorAccess() {}

  /**
   * Announces a use of the memory: it stays valid until {@link #release}, whoever closes the
   * tensor.
   *
   * @throws IllegalStateException if the tensor is closed
   */
  public static void acquire(Tensor t) {
    t.acquire();
  }

  /** Ends what one {@link #acquire} began. */
  public static void release(Tensor t) {
    t.release();
  }

  /** The array on the heap that the elements lie in, or null where they do not. */
  public static @Nullable Object array(Tensor t) {
    return t.array();
  }

  /** Bytes from the beginning of the {@link #array} to the first element. */
  public static long arrayBytes(Tensor t) {
    return t.arrayBytes();
  }

  /**
   * Copies {@code length} neighbouring elements, as floats.
   *
   * @param position of the first of them in memory, counted from that of the tensor
   */
  public static void read(Tensor t, long position, float[] to, int at, int length) {
    t.read(t.offset() + position, to, at, length);
  }

  /** {@link #read(Tensor, long, float[], int, int)} for f64. */
  public static void read(Tensor t, long position, double[] to, int at, int length) {
    t.read(t.offset() + position, to, at, length);
  }

  /**
   * Writes {@code length} neighbouring elements, in the tensor's type.
   *
   * @param position as {@link #read(Tensor, long, float[], int, int)}
   * @throws IllegalArgumentException if the memory can only be read
   */
  public static void write(Tensor t, long position, float[] from, int at, int length) {
    t.write(t.offset() + position, from, at, length);
  }

  /** {@link #write(Tensor, long, float[], int, int)} for f64. */
  public static void write(Tensor t, long position, double[] from, int at, int length) {
    t.write(t.offset() + position, from, at, length);
  }
}
