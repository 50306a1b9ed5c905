package org.batchnorm4j.examples.cli;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.UUID;

/** The folder an example writes to. Its files appear whole or not at all. */
public final class OutputFolder {
  private final Path folder;

  private OutputFolder(Path folder) {
    this.folder = folder;
  }

  /**
   * Makes the folder if need be, and tries whether it can be written to: better now than after the
   * training.
   *
   * @throws IOException naming the folder if not
   */
  public static OutputFolder prepare(Path folder) throws IOException {
    OutputFolder prepared = new OutputFolder(folder.toAbsolutePath().normalize());
    try {
      Files.createDirectories(prepared.folder);
      Files.delete(Files.createTempFile(prepared.folder, ".try", ".tmp"));
    } catch (IOException e) {
      throw new IOException(
          "cannot write to the output folder " + prepared.folder + ": " + Errors.reason(e), e);
    }
    return prepared;
  }

  /** The path of a file in the folder. */
  public Path file(String name) {
    return folder.resolve(name);
  }

  /** What writes a file's bytes. */
  @FunctionalInterface
  public interface Content {
    /** Writes them all. */
    void writeTo(OutputStream out) throws IOException;
  }

  /** Writes a file, over an older one if there is one, and returns its path. */
  public Path write(String name, Content content) throws IOException {
    Path file = file(name);
    Path temporary = file("." + name + "." + UUID.randomUUID() + ".tmp");
    try {
      try (OutputStream out =
          new BufferedOutputStream(
              Files.newOutputStream(temporary, StandardOpenOption.CREATE_NEW))) {
        content.writeTo(out);
      }
      Files.move(
          temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
    return file;
  }
}
