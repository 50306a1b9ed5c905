package org.batchnorm4j.examples.cli;

import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Where an example writes to. */
public final class OutOption {
  @Option(
      names = "--out",
      paramLabel = "DIR",
      defaultValue = "${sys:org.batchnorm4j.examples.out:-out}",
      description = "Folder for what the example writes (default: ${DEFAULT-VALUE}).")
  private Path folder = Path.of("out");

  /** The folder, made and tried. */
  public OutputFolder prepare() throws IOException {
    return OutputFolder.prepare(folder);
  }
}
