package org.batchnorm4j.io;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.UUID;

/** Writing files that appear whole or not at all; reading all of what was asked for. */
final class WholeFile {
  private WholeFile() {}

  /** Writes the content; the channel is new and empty. */
  interface Content {
    void writeTo(FileChannel channel) throws IOException;
  }

  /**
   * Writes a file under a temporary name beside it and renames it in the end, over an older file if
   * there is one. Whatever goes wrong, nothing of it stays.
   */
  static void write(Path file, Content content) throws IOException {
    Path target = file.toAbsolutePath();
    Path temporary =
        target.resolveSibling("." + target.getFileName() + "." + UUID.randomUUID() + ".tmp");
    try {
      try (FileChannel channel =
          FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        content.writeTo(channel);
        channel.force(true);
      }
      Files.move(
          temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  /**
   * Opens a file for reading.
   *
   * @param kind what is expected in it, for the message that says it is a directory
   */
  static FileChannel open(Path file, String kind) throws IOException {
    if (Files.isDirectory(file)) {
      throw new IOException(file + ": is a directory, expected " + kind);
    }
    return FileChannel.open(file, StandardOpenOption.READ);
  }

  /** Fills {@code to} with the bytes from {@code position} on. */
  static void readFully(Path file, FileChannel channel, ByteBuffer to, long position)
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
}
