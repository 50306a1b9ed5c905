package org.batchnorm4j.examples.data;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;

/** Where data sets come from: a folder of the user's, or the jar of data sets on the class path. */
public final class DataFiles {
  private static final String IN_JAR = "/rapaio/provider/datasets/";

  private final @Nullable Path folder;

  private DataFiles(@Nullable Path folder) {
    this.folder = folder;
  }

  /** The data sets of the jar. */
  public static DataFiles fromJar() {
    return new DataFiles(null);
  }

  /**
   * The files of a folder.
   *
   * @throws IOException if it is none
   */
  public static DataFiles in(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      throw new IOException(
          "the data folder " + folder + (Files.exists(folder) ? " is a file" : " does not exist"));
    }
    return new DataFiles(folder);
  }

  /**
   * Opens a file, uncompressing it if it is {@code .gz}. In a folder the unpacked file will do too.
   *
   * @param subfolder where it lies in the jar; the user's folder has none
   */
  InputStream open(String subfolder, String name) throws IOException {
    return new BufferedInputStream(openRaw(subfolder, name), 1 << 16);
  }

  private InputStream openRaw(String subfolder, String name) throws IOException {
    if (folder == null) {
      InputStream found = DataFiles.class.getResourceAsStream(IN_JAR + subfolder + name);
      if (found == null) {
        throw new IOException(
            name
                + " is not on the class path, where the jar rapaio-datasets should be; start with"
                + " examples/run, or give --data a folder that has the file");
      }
      return name.endsWith(".gz") ? new GZIPInputStream(found) : found;
    }
    Path file = folder.resolve(name);
    if (Files.exists(file) || !name.endsWith(".gz")) {
      InputStream found = openIn(folder, name);
      return name.endsWith(".gz") ? new GZIPInputStream(found) : found;
    }
    String unpacked = name.substring(0, name.length() - 3);
    return openIn(folder, Files.exists(folder.resolve(unpacked)) ? unpacked : name);
  }

  private static InputStream openIn(Path folder, String name) throws IOException {
    if (!Files.isRegularFile(folder.resolve(name))) {
      throw new IOException("the data folder " + folder + " has no file " + name);
    }
    return Files.newInputStream(folder.resolve(name));
  }
}
