package org.batchnorm4j.examples.cli;

import java.io.IOException;
import java.nio.file.Path;
import org.batchnorm4j.examples.data.DataFiles;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where an example reads its data. */
public final class DataOption {
  @Option(
      names = "--data",
      paramLabel = "DIR",
      description = "Folder with data files to use instead of the ones that come along.")
  private @Nullable Path folder;

  /** The files asked for. */
  public DataFiles files() throws IOException {
    return folder == null ? DataFiles.fromJar() : DataFiles.in(folder);
  }
}
