package org.batchnorm4j.benchmarks.serving;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ServingTest {
  @TempDir Path folder;

  private static final Serving SOME =
      new Serving(
          Map.of("cpu", "made-up"),
          9.5,
          List.of(
              new Serving.Row("mlp 1", "batchnorm4j", 1, 0.5, 2, 1_900_000),
              new Serving.Row("mlp 1", "libtorch", 1, 12.3, 40, 80_000),
              new Serving.Row("mlp 1", "batchnorm4j", 64, 30, 999, 1_500_000),
              new Serving.Row("mlp 1", "libtorch", 64, 0, 0, 0),
              new Serving.Row("scaler 1", "copy", 64, 0.25, 0.5, 2_000_000)));

  @Test
  void readsWhatItWrote() throws IOException {
    Path file = folder.resolve("serving.json");
    SOME.write(file);
    assertEquals(SOME, Serving.read(file));
    for (String text : List.of("", "{}", "[1]")) {
      Files.writeString(file, text);
      assertThrows(IOException.class, () -> Serving.read(file), text);
    }
  }

  @Test
  void everyNumberOfCallersHasATable() {
    String text = SOME.markdown();
    assertTrue(text.contains("| mlp 1 | 0.500 | 2.00 | 1900 | 12.3 | 40.0 | 80.0 | - | | |"), text);
    assertTrue(text.contains("## Callers: 64"), text);
    assertTrue(text.contains("| mlp 1 | 30.0 | 999 | 1500 | failed | | | - | | |"), text);
  }
}
