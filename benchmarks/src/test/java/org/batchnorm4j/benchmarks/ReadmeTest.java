package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReadmeTest {
  private static final Report REPORT =
      new Report(
          Rows.results(
              Rows.ok("native AVX-512", "32x64x56x56", 1, 10),
              Rows.ok("libtorch", "32x64x56x56", 1, 25),
              Rows.ok("native AVX-512", "1x64x56x56", 1, 10),
              Rows.ok("libtorch", "1x64x56x56", 1, 5)));

  @TempDir Path folder;

  @Test
  void replacesOnlyWhatIsBetweenTheMarkers() throws IOException {
    Path readme = folder.resolve("README.md");
    Files.writeString(readme, "before\n" + Readme.BEGIN + "old\n" + Readme.END + "\nafter\n");
    Readme.write(folder, REPORT);
    String once = Files.readString(readme);
    assertTrue(once.startsWith("before\n" + Readme.BEGIN + "!["), once);
    assertTrue(once.endsWith("\n" + Readme.END + "\nafter\n"), once);
    assertFalse(once.contains("old"), once);
    // Geometric mean of 2.5 and 0.5, the worst, one loss, no Java backend, limits of 8 in 10.
    assertTrue(once.contains("| 1 | inference | 2 | 1.12 | 0.50 | 1 | - | 0.80 |"), once);
    Readme.write(folder, REPORT);
    assertEquals(once, Files.readString(readme));
    String plot = Files.readString(folder.resolve("docs/images/benchmarks.svg"));
    assertEquals(2, plot.split("<circle", -1).length - 1, "a dot for each cell, losses too");
  }

  @Test
  void refusesAReadmeWithoutMarkers() throws IOException {
    for (String text : new String[] {"", Readme.BEGIN, Readme.END + "\n" + Readme.BEGIN}) {
      Files.writeString(folder.resolve("README.md"), text);
      assertThrows(IOException.class, () -> Readme.write(folder, REPORT), text);
      assertEquals(text, Files.readString(folder.resolve("README.md")));
    }
  }
}
