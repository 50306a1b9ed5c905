package org.batchnorm4j.io;

import java.io.BufferedOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.zip.CRC32;
import java.util.zip.CheckedInputStream;
import java.util.zip.Deflater;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.batchnorm4j.tensor.Tensor;

/**
 * NumPy's npz files: tensors by name, as {@code numpy.load} and {@code numpy.savez} read and write
 * them; zip archives of {@link Npy} files. With {@code Module.stateDict} and {@code loadStateDict}
 * they carry weights.
 *
 * <p>The methods are thread-safe; they read from the given tensors and change none.
 */
public final class Npz {
  private static final String SUFFIX = ".npy";

  /** The earliest time a zip file knows: equal tensors make equal files. */
  private static final LocalDateTime NO_TIME = LocalDateTime.of(1980, 1, 1, 0, 0);

  /** An archive may expand to so many bytes, or to so many times its own length. */
  private static final long MODEST_BYTES = 1L << 26;

  private static final int MODEST_FACTOR = 64;

  private Npz() {}

  /**
   * Writes the tensors under their names, not compressed, values row-major and little-endian. The
   * file appears whole or not at all: a temporary one beside it is renamed in the end, over an
   * older file if there is one.
   *
   * @throws IllegalArgumentException if a name is longer than zip files allow
   * @throws IllegalStateException if a tensor is closed
   * @throws IOException if the file cannot be written
   */
  public static void write(Path file, Map<String, Tensor> tensors) throws IOException {
    WholeFile.write(
        file,
        channel -> {
          ZipOutputStream zip =
              new ZipOutputStream(
                  new BufferedOutputStream(Channels.newOutputStream(channel), 1 << 16));
          zip.setLevel(Deflater.NO_COMPRESSION);
          WritableByteChannel entries = Channels.newChannel(zip);
          for (Map.Entry<String, Tensor> e : tensors.entrySet()) {
            ZipEntry entry = new ZipEntry(e.getKey() + SUFFIX);
            entry.setTimeLocal(NO_TIME);
            zip.putNextEntry(entry);
            Npy.write(entries, e.getValue());
            zip.closeEntry();
          }
          zip.finish();
          zip.flush();
        });
  }

  /**
   * Reads all tensors of a file, compressed or not, in the order of its directory. The caller
   * closes them.
   *
   * <p>All sizes are checked before anything is allocated. An archive that expands to more than 64
   * MiB and 64 times its own length is refused; {@link #read(Path, long)} reads it.
   *
   * @throws IOException if the file cannot be read, is no npz file, is damaged, expands to too
   *     much, or has a type or size that {@link Tensor} does not know; the message names the file,
   *     the entry and the field
   */
  public static Map<String, Tensor> read(Path file) throws IOException {
    long length = Files.size(file);
    return read(file, Math.max(MODEST_BYTES, Math.multiplyExact(length, MODEST_FACTOR)));
  }

  /**
   * {@link #read(Path)} with a limit of the caller's.
   *
   * @param maxBytes the most bytes all tensors together may have
   */
  public static Map<String, Tensor> read(Path file, long maxBytes) throws IOException {
    if (Files.isDirectory(file)) {
      throw new IOException(file + ": is a directory, expected an npz file");
    }
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    boolean done = false;
    try (ZipFile zip = open(file)) {
      List<? extends ZipEntry> entries = zip.stream().toList();
      check(file, entries, maxBytes);
      for (ZipEntry entry : entries) {
        String name = entry.getName();
        tensors.put(
            name.substring(0, name.length() - SUFFIX.length()),
            read(file + ": " + SafetensorsHeader.quoted(name), zip, entry));
      }
      done = true;
      return tensors;
    } finally {
      if (!done) {
        tensors.values().forEach(Tensor::close);
      }
    }
  }

  private static ZipFile open(Path file) throws IOException {
    try {
      return new ZipFile(file.toFile());
    } catch (ZipException | EOFException | IllegalArgumentException e) {
      throw new IOException(file + ": not a whole npz file: " + e.getMessage(), e);
    }
  }

  private static void check(Path file, List<? extends ZipEntry> entries, long maxBytes)
      throws IOException {
    Set<String> names = new HashSet<>();
    long total = 0;
    for (ZipEntry entry : entries) {
      String what = file + ": " + SafetensorsHeader.quoted(entry.getName());
      if (!entry.getName().endsWith(SUFFIX)) {
        throw new IOException(what + ": is not a " + SUFFIX + " entry, of which npz files consist");
      }
      if (!names.add(entry.getName())) {
        throw new IOException(what + ": comes twice");
      }
      long size = entry.getSize();
      if (size < 0 || size > maxBytes - total) {
        throw new IOException(
            what
                + ": size is "
                + size
                + ", with which the file expands to more than "
                + maxBytes
                + " bytes; if you trust it, give read(file, maxBytes) a larger limit");
      }
      total += size;
    }
  }

  private static Tensor read(String what, ZipFile zip, ZipEntry entry) throws IOException {
    try (InputStream stored = open(what, zip, entry)) {
      CheckedInputStream in = new CheckedInputStream(stored, new CRC32());
      Tensor t = Npy.read(what, to -> fill(what, in, to), entry.getSize());
      boolean whole = false;
      try {
        boolean atEnd = read(what, in, new byte[1], 0, 1) < 0;
        whole = atEnd && in.getChecksum().getValue() == entry.getCrc();
      } finally {
        if (!whole) {
          t.close();
        }
      }
      if (!whole) {
        throw new IOException(what + ": damaged: its bytes do not have the checksum of the file");
      }
      return t;
    }
  }

  private static InputStream open(String what, ZipFile zip, ZipEntry entry) throws IOException {
    try {
      return zip.getInputStream(entry);
    } catch (IOException e) {
      throw new IOException(what + ": damaged: " + e.getMessage(), e);
    }
  }

  private static void fill(String what, InputStream in, ByteBuffer to) throws IOException {
    while (to.hasRemaining()) {
      int n = read(what, in, to.array(), to.position(), to.remaining());
      if (n < 0) {
        throw new EOFException(what + ": has fewer bytes than its size says");
      }
      to.position(to.position() + n);
    }
  }

  private static int read(String what, InputStream in, byte[] to, int at, int length)
      throws IOException {
    try {
      return in.read(to, at, length);
    } catch (IOException e) {
      throw new IOException(what + ": damaged: " + e.getMessage(), e);
    }
  }
}
