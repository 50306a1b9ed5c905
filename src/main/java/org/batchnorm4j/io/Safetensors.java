package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.io.SafetensorsHeader.Entry;
import org.batchnorm4j.tensor.DType;
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
      end += Values.bytes(tensors.get(name));
    }
    List<Entry> entries = new ArrayList<>();
    tensors.forEach(
        (name, t) -> {
          long begin = begins.get(name);
          entries.add(new Entry(name, t.dtype(), t.shape(), begin, begin + Values.bytes(t)));
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

    WholeFile.write(
        file,
        channel -> {
          Values.writeFully(channel, littleEndian(8).putLong(padded).flip());
          Values.writeFully(channel, ByteBuffer.wrap(header));
          for (String name : byWidth) {
            Values.write(channel, tensors.get(name));
          }
        });
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
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    boolean done = false;
    try (FileChannel channel = WholeFile.open(file, "a safetensors file")) {
      long length = channel.size();
      if (length < 8) {
        throw notSafetensors(file, "it has " + length + " bytes, fewer than the 8 of header size");
      }
      ByteBuffer size = littleEndian(8);
      WholeFile.readFully(file, channel, size, 0);
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
      WholeFile.readFully(file, channel, ByteBuffer.wrap(header), 8);
      List<Entry> entries = SafetensorsHeader.parse(file.toString(), header);
      long data = 8 + headerSize;
      check(file, entries, length - data);
      for (Entry e : entries) {
        Tensor t = Tensor.zeros(e.dtype(), e.shape().toArray());
        tensors.put(e.name(), t);
        long[] at = {data + e.begin()};
        Values.read(
            to -> {
              int n = to.remaining();
              WholeFile.readFully(file, channel, to, at[0]);
              at[0] += n;
            },
            ByteOrder.LITTLE_ENDIAN,
            false,
            t);
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
      if (bytes > Values.MAX_BYTES) {
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

  private static ByteBuffer littleEndian(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static IOException notSafetensors(Path file, String why) {
    return new IOException(file + ": not a whole safetensors file: " + why);
  }

  private static IOException damaged(Path file, Entry e, String what) {
    return new IOException(
        file + ": tensor " + SafetensorsHeader.quoted(e.name()) + ": data_offsets " + what);
  }
}
