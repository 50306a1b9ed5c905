package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import org.batchnorm4j.tensor.Tensor;

/**
 * NumPy's npy files: one tensor each, as {@code numpy.load} and {@code numpy.save} read and write
 * them. All of {@link org.batchnorm4j.tensor.DType} is supported: f4, f8, f2 and i8 of either byte
 * order, in C or in Fortran order; bf16, which NumPy has not, as {@code V2}, the name it gives to
 * that of ml_dtypes: {@code numpy.load(file).view(ml_dtypes.bfloat16)}.
 *
 * <p>The methods are thread-safe; they read from the given tensor and do not change it.
 */
public final class Npy {
  private Npy() {}

  /**
   * Writes a tensor, values row-major and little-endian. The file appears whole or not at all: a
   * temporary one beside it is renamed in the end, over an older file if there is one.
   *
   * @throws IllegalStateException if the tensor is closed
   * @throws IOException if the file cannot be written
   */
  public static void write(Path file, Tensor tensor) throws IOException {
    WholeFile.write(file, channel -> write(channel, tensor));
  }

  static void write(WritableByteChannel channel, Tensor tensor) throws IOException {
    Values.writeFully(channel, ByteBuffer.wrap(NpyHeader.format(tensor)));
    Values.write(channel, tensor);
  }

  /**
   * Reads a tensor, which the caller closes.
   *
   * <p>All sizes are checked against the file's length before the tensor is allocated: a damaged or
   * hostile file leads to an exception, and never takes more memory than a small multiple of its
   * own length.
   *
   * @throws IOException if the file cannot be read, is no npy file, is damaged, or has a type or
   *     size that {@link Tensor} does not know; the message names the file and the field
   */
  public static Tensor read(Path file) throws IOException {
    try (FileChannel channel = WholeFile.open(file, "an npy file")) {
      long[] at = {0};
      Values.Source source =
          to -> {
            int n = to.remaining();
            WholeFile.readFully(file, channel, to, at[0]);
            at[0] += n;
          };
      return read(file.toString(), source, channel.size());
    }
  }

  /** Reads header and values, {@code length} bytes together. */
  static Tensor read(String what, Values.Source source, long length) throws IOException {
    NpyHeader header = NpyHeader.read(what, source, length);
    long values = length - header.length();
    int width = header.dtype().bytes();
    if (values % width != 0 || values / width != header.shape().size()) {
      throw new IOException(
          what
              + ": npy header: shape "
              + header.shape()
              + " of "
              + header.dtype()
              + " needs "
              + header.shape().size()
              + " x "
              + width
              + " bytes, but "
              + values
              + " follow");
    }
    if (values > Values.MAX_BYTES) {
      throw new IOException(
          what
              + ": npy header: shape "
              + header.shape()
              + " is "
              + values
              + " bytes, more than the 2 GiB that one tensor may have");
    }
    Tensor t = Tensor.zeros(header.dtype(), header.shape().toArray());
    boolean done = false;
    try {
      Values.read(source, header.order(), header.columnMajor(), t);
      done = true;
      return t;
    } finally {
      if (!done) {
        t.close();
      }
    }
  }
}
