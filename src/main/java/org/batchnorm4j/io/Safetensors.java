package org.batchnorm4j.io;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.batchnorm4j.io.SafetensorsHeader.Entry;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Half;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Tensor;

/**
 * Files in the safetensors format: tensors by name, as {@code safetensors.torch.load_file} and
 * {@code save_file} read and write them. With {@code Module.stateDict} and {@code loadStateDict}
 * they carry weights between here and PyTorch. All of {@link DType} is supported.
 *
 * <p>The methods are thread-safe; they read from the given tensors and change none.
 */
public final class Safetensors {
  private static final int MAX_HEADER = 100_000_000;
  private static final int CHUNK = 8192;

  /** The most bytes one tensor may have; {@link Tensor} allocates up to there. */
  private static final long MAX_TENSOR = Integer.MAX_VALUE - 128;

  private Safetensors() {}

  /**
   * Writes the tensors, values row-major, under their names. The file appears whole or not at all:
   * a temporary one beside it is renamed in the end, over an older file if there is one.
   *
   * @throws IllegalArgumentException if a name is {@code __metadata__} or no valid Unicode
   * @throws IllegalStateException if a tensor is closed
   * @throws IOException if the file cannot be written
   */
  public static void write(Path file, Map<String, Tensor> tensors) throws IOException {
    // The widest first, so that each lies at a multiple of its element's size.
    List<String> byWidth = new ArrayList<>(tensors.keySet());
    byWidth.sort(Comparator.comparing(name -> -tensors.get(name).dtype().bytes()));
    Map<String, Long> begins = new LinkedHashMap<>();
    long end = 0;
    for (String name : byWidth) {
      begins.put(name, end);
      end += bytes(tensors.get(name));
    }
    List<Entry> entries = new ArrayList<>();
    tensors.forEach(
        (name, t) -> {
          long begin = begins.get(name);
          entries.add(new Entry(name, t.dtype(), t.shape(), begin, begin + bytes(t)));
        });
    byte[] json = SafetensorsHeader.format(entries);
    int padded = json.length + 7 & -8;
    if (padded > MAX_HEADER) {
      throw new IllegalArgumentException(
          "the header of "
              + tensors.size()
              + " tensors has "
              + padded
              + " bytes, the format allows "
              + MAX_HEADER);
    }
    byte[] header = Arrays.copyOf(json, padded);
    Arrays.fill(header, json.length, padded, (byte) ' ');

    Path target = file.toAbsolutePath();
    Path temporary =
        target.resolveSibling("." + target.getFileName() + "." + UUID.randomUUID() + ".tmp");
    try {
      try (FileChannel channel =
          FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        ByteBuffer size = littleEndian(8).putLong(padded).flip();
        writeFully(channel, size);
        writeFully(channel, ByteBuffer.wrap(header));
        for (String name : byWidth) {
          writeValues(channel, tensors.get(name));
        }
        channel.force(true);
      }
      Files.move(
          temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  /**
   * Reads all tensors of a file, in the order of its header. The caller closes them.
   *
   * <p>All sizes are checked against the file's length before any tensor is allocated: a damaged or
   * hostile file leads to an exception, and never takes more memory than a small multiple of its
   * own length.
   *
   * @throws IOException if the file cannot be read, or is no safetensors file, is damaged, or has a
   *     type or size that {@link Tensor} does not know; the message names the file and the field
   */
  public static Map<String, Tensor> read(Path file) throws IOException {
    if (Files.isDirectory(file)) {
      throw new IOException(file + ": is a directory, expected a safetensors file");
    }
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    boolean done = false;
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      long length = channel.size();
      if (length < 8) {
        throw notSafetensors(file, "it has " + length + " bytes, fewer than the 8 of header size");
      }
      ByteBuffer size = littleEndian(8);
      readFully(file, channel, size, 0);
      long headerSize = size.getLong(0);
      if (headerSize < 0 || headerSize > MAX_HEADER || headerSize > length - 8) {
        throw notSafetensors(
            file,
            "header size is "
                + Long.toUnsignedString(headerSize)
                + ", expected at most "
                + Math.min(MAX_HEADER, length - 8));
      }
      byte[] header = new byte[(int) headerSize];
      readFully(file, channel, ByteBuffer.wrap(header), 8);
      List<Entry> entries = SafetensorsHeader.parse(file.toString(), header);
      long data = 8 + headerSize;
      check(file, entries, length - data);
      for (Entry e : entries) {
        Tensor t = Tensor.zeros(e.dtype(), e.shape().toArray());
        tensors.put(e.name(), t);
        readValues(file, channel, data + e.begin(), t);
      }
      done = true;
      return tensors;
    } finally {
      if (!done) {
        tensors.values().forEach(Tensor::close);
      }
    }
  }

  /** Every tensor has the bytes of its shape, and together they fill the data without gaps. */
  private static void check(Path file, List<Entry> entries, long dataLength) throws IOException {
    for (Entry e : entries) {
      long bytes = e.end() - e.begin();
      int width = e.dtype().bytes();
      if (bytes % width != 0 || bytes / width != e.shape().size()) {
        throw damaged(
            file,
            e,
            "are "
                + bytes
                + " bytes, but "
                + e.dtype()
                + " of shape "
                + e.shape()
                + " needs "
                + e.shape().size()
                + " x "
                + width);
      }
      if (bytes > MAX_TENSOR) {
        throw damaged(
            file, e, "are " + bytes + " bytes, more than the 2 GiB that one tensor may have");
      }
    }
    List<Entry> inOrder = new ArrayList<>(entries);
    inOrder.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
    long expected = 0;
    for (Entry e : inOrder) {
      if (e.begin() != expected) {
        throw damaged(
            file,
            e,
            "begin at "
                + e.begin()
                + (e.begin() < expected ? " and overlap" : " after a gap behind")
                + " the tensor that ends at "
                + expected);
      }
      if (e.end() > dataLength) {
        throw damaged(
            file,
            e,
            "end at " + e.end() + ", but the file has only " + dataLength + " bytes of data");
      }
      expected = e.end();
    }
    if (expected != dataLength) {
      throw notSafetensors(
          file, "its tensors end at " + expected + ", but it has " + dataLength + " bytes of data");
    }
  }

  // -------------------------------------------------------------------------------------- values

  private static long bytes(Tensor t) {
    return t.size() * t.dtype().bytes();
  }

  private static void writeValues(FileChannel channel, Tensor t) throws IOException {
    if (t.format() != MemoryFormat.CHANNELS_FIRST || !t.isContiguous()) {
      try (Tensor rowMajor = t.to(MemoryFormat.CHANNELS_FIRST)) {
        writeValues(channel, rowMajor);
      }
      return;
    }
    ByteBuffer bytes = littleEndian(CHUNK * t.dtype().bytes());
    float[] floats = new float[CHUNK];
    t.acquire();
    try {
      for (long done = 0; done < t.size(); done += CHUNK) {
        int n = (int) Math.min(CHUNK, t.size() - done);
        long from = t.offset() + done;
        bytes.clear().limit(n * t.dtype().bytes());
        switch (t.dtype()) {
          case F32 -> {
            t.read(from, floats, 0, n);
            bytes.asFloatBuffer().put(floats, 0, n);
          }
          case F64 -> {
            double[] doubles = new double[n];
            t.read(from, doubles, 0, n);
            bytes.asDoubleBuffer().put(doubles);
          }
          case BF16 -> {
            t.read(from, floats, 0, n);
            for (int i = 0; i < n; i++) {
              bytes.putShort(2 * i, Half.toBf16(floats[i]));
            }
          }
          case F16 -> {
            t.read(from, floats, 0, n);
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
      t.release();
    }
  }

  private static void readValues(Path file, FileChannel channel, long position, Tensor t)
      throws IOException {
    int width = t.dtype().bytes();
    ByteBuffer bytes = littleEndian((int) Math.min(CHUNK, t.size()) * width);
    float[] floats = new float[bytes.capacity() / width];
    t.acquire();
    try {
      for (long done = 0; done < t.size(); done += CHUNK) {
        int n = (int) Math.min(CHUNK, t.size() - done);
        readFully(file, channel, bytes.clear().limit(n * width), position + done * width);
        bytes.flip();
        switch (t.dtype()) {
          case F32 -> {
            bytes.asFloatBuffer().get(floats, 0, n);
            t.write(done, floats, 0, n);
          }
          case F64 -> {
            double[] doubles = new double[n];
            bytes.asDoubleBuffer().get(doubles);
            t.write(done, doubles, 0, n);
          }
          case BF16 -> {
            for (int i = 0; i < n; i++) {
              floats[i] = Half.fromBf16(bytes.getShort(2 * i));
            }
            t.write(done, floats, 0, n);
          }
          case F16 -> {
            for (int i = 0; i < n; i++) {
              floats[i] = Half.fromF16(bytes.getShort(2 * i));
            }
            t.write(done, floats, 0, n);
          }
          case I64 -> {
            for (int i = 0; i < n; i++) {
              counter(t, done + i).setLong(bytes.getLong(8 * i));
            }
          }
        }
      }
    } finally {
      t.release();
    }
  }

  /** One element of an i64 tensor: all a tensor reads and writes exactly in that type. */
  private static Tensor counter(Tensor t, long i) {
    return t.reshape(t.size()).narrow(0, i, 1);
  }

  private static ByteBuffer littleEndian(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  private static void readFully(Path file, FileChannel channel, ByteBuffer to, long position)
      throws IOException {
    long at = position;
    while (to.hasRemaining()) {
      int n = channel.read(to, at);
      if (n < 0) {
        throw new EOFException(file + ": became shorter while it was read");
      }
      at += n;
    }
  }

  private static IOException notSafetensors(Path file, String why) {
    return new IOException(file + ": not a whole safetensors file: " + why);
  }

  private static IOException damaged(Path file, Entry e, String what) {
    return new IOException(
        file + ": tensor " + SafetensorsHeader.quoted(e.name()) + ": data_offsets " + what);
  }
}
