package org.batchnorm4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The part of the README that {@code benchmarks/plot} writes. */
final class Readme {
  static final String BEGIN = "<!-- benchmarks -->\n";
  static final String END = "<!-- /benchmarks -->";

  private static final String PLOT = "docs/images/benchmarks.svg";

  private Readme() {}

  /**
   * Puts the plot and the table of a run between the markers of the README, and the plot into
   * {@code docs/images}.
   *
   * @throws IOException if README.md is not there or has no markers; nothing is written then
   */
  static void write(Path repository, Report report) throws IOException {
    Path readme = repository.resolve("README.md");
    String text = Files.readString(readme);
    int begin = text.indexOf(BEGIN);
    int end = text.indexOf(END);
    if (begin < 0 || end < begin) {
      throw new IOException(
          readme + " has no lines \"" + BEGIN.strip() + "\" and, behind it, \"" + END + "\"");
    }
    String section =
        "![Speed of the native backend relative to the fastest alternative, one dot for each operation, shape and layout]("
            + PLOT
            + ")\n\n"
            + report.overview();
    Path plot = repository.resolve(PLOT);
    Files.createDirectories(plot.getParent());
    Files.writeString(plot, report.overviewPlot());
    Files.writeString(
        readme, text.substring(0, begin + BEGIN.length()) + section + text.substring(end));
  }
}
