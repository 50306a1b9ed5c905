package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import org.batchnorm4j.tensor.Half;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;

/** The values of tensors as bytes, a few thousand at a time. */
final class Values {
  private static final int CHUNK = 8192;

  /** The most bytes one tensor may have; {@link Tensor} allocates up to there. */
  static final long MAX_BYTES = Integer.MAX_VALUE - 128;

  private Values() {}

  /** Where bytes come from, in order. */
  interface Source {
    /** Fills the buffer up to its limit, or throws. */
    void fill(ByteBuffer to) throws IOException;
  }

  /** The number of bytes of a tensor's values. */
  static long bytes(Tensor t) {
    return t.size() * t.dtype().bytes();
  }

  /** Writes the values row-major and little-endian. */
  static void write(WritableByteChannel channel, Tensor t) throws IOException {
    if (t.format() != MemoryFormat.CHANNELS_FIRST || !t.isContiguous()) {
      try (Tensor rowMajor = t.to(MemoryFormat.CHANNELS_FIRST)) {
        write(channel, rowMajor);
      }
      return;
    }
    ByteBuffer bytes =
        ByteBuffer.allocate(CHUNK * t.dtype().bytes()).order(ByteOrder.LITTLE_ENDIAN);
    float[] floats = new float[CHUNK];
    TensorAccess.acquire(t);
    try {
      for (long done = 0; done < t.size(); done += CHUNK) {
        int n = (int) Math.min(CHUNK, t.size() - done);

        bytes.clear().limit(n * t.dtype().bytes());
        switch (t.dtype()) {
          case F32 -> {
            TensorAccess.read(t, done, floats, 0, n);
            bytes.asFloatBuffer().put(floats, 0, n);
          }
          case F64 -> {
            double[] doubles = new double[n];
            TensorAccess.read(t, done, doubles, 0, n);
            bytes.asDoubleBuffer().put(doubles);
          }
          case BF16 -> {
            TensorAccess.read(t, done, floats, 0, n);
            for (int i = 0; i < n; i++) {
              bytes.putShort(2 * i, Half.toBf16(floats[i]));
            }
          }
          case F16 -> {
            TensorAccess.read(t, done, floats, 0, n);
            for (int i = 0; i < n; i++) {
              bytes.putShort(2 * i, Half.toF16(floats[i]));
            }
          }
          case I64 -> {
            for (int i = 0; i < n; i++) {
              bytes.putLong(8 * i, counter(t, done + i).getLong());
            }
          }
        }
        writeFully(channel, bytes);
      }
    } finally {
      TensorAccess.release(t);
    }
  }

  static void writeFully(WritableByteChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  /**
   * Reads the values of a new tensor.
   *
   * @param columnMajor whether the first index runs fastest in the source, as in Fortran
   */
  static void read(Source source, ByteOrder order, boolean columnMajor, Tensor t)
      throws IOException {
    int width = t.dtype().bytes();
    int length = (int) Math.min(CHUNK, t.size());
    ByteBuffer bytes = ByteBuffer.allocate(length * width).order(order);
    float[] floats = new float[length];
    double[] doubles = new double[length];
    ColumnMajor positions = columnMajor && t.shape().rank() > 1 ? new ColumnMajor(t.shape()) : null;
    TensorAccess.acquire(t);
    try {
      for (long done = 0; done < t.size(); done += CHUNK) {
        int n = (int) Math.min(CHUNK, t.size() - done);
        source.fill(bytes.clear().limit(n * width));
        bytes.flip();
        switch (t.dtype()) {
          case F32 -> bytes.asFloatBuffer().get(floats, 0, n);
          case F64 -> bytes.asDoubleBuffer().get(doubles, 0, n);
          case BF16 -> {
            for (int i = 0; i < n; i++) {
              floats[i] = Half.fromBf16(bytes.getShort(2 * i));
            }
          }
          case F16 -> {
            for (int i = 0; i < n; i++) {
              floats[i] = Half.fromF16(bytes.getShort(2 * i));
            }
          }
          case I64 -> {
            for (int i = 0; i < n; i++) {
              long at = positions == null ? done + i : positions.next();
              counter(t, at).setLong(bytes.getLong(8 * i));
            }
            continue;
          }
        }
        // Neighbours in the source are neighbours in the tensor, or each goes to its own place.
        int run = positions == null ? n : 1;
        for (int i = 0; i < n; i += run) {
          long at = positions == null ? done : positions.next();
          if (width == 8) {
            TensorAccess.write(t, at, doubles, i, run);
          } else {
            TensorAccess.write(t, at, floats, i, run);
          }
        }
      }
    } finally {
      TensorAccess.release(t);
    }
  }

  /** One element of an i64 tensor: all a tensor reads and writes exactly in that type. */
  private static Tensor counter(Tensor t, long i) {
    return t.reshape(t.size()).narrow(0, i, 1);
  }

  /** The row-major positions of elements, first index fastest. */
  private static final class ColumnMajor {
    private final Shape shape;
    private final long[] index;
    private final long[] strides;
    private long position;

    ColumnMajor(Shape shape) {
      this.shape = shape;
      index = new long[shape.rank()];
      strides = new long[shape.rank()];
      long stride = 1;
      for (int i = shape.rank() - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= shape.dim(i);
      }
    }

    long next() {
      long here = position;
      int i = 0;
      do {
        index[i]++;
        position += strides[i];
        if (index[i] < shape.dim(i)) {
          return here;
        }
        position -= index[i] * strides[i];
        index[i] = 0;
        i++;
      } while (i < index.length);
      return here;
    }
  }
}
