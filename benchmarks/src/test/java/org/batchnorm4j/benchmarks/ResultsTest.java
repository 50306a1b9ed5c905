package org.batchnorm4j.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ResultsTest {
  @TempDir Path folder;

  @Test
  void readsWhatItWrote() throws IOException {
    Results results = Rows.results(Rows.ok("libtorch <&>", "1x2x3x4", 2, 12.5));
    Path file = folder.resolve("deeper/file.json");
    results.write(file);
    assertEquals(results, Results.read(file));
  }

  @Test
  void refusesOtherFiles() throws IOException {
    Path file = folder.resolve("file.json");
    for (String text : List.of("", "{}", "[1]", "{\"rows\": 3}", "no json")) {
      Files.writeString(file, text);
      IOException e = assertThrows(IOException.class, () -> Results.read(file), text);
      assertTrue(e.getMessage().contains("file.json"), e.getMessage());
    }
  }

  @Test
  void mergesForks() {
    Results one = Rows.results(Rows.ok("a", "1x1", 1, 10), Rows.ok("b", "1x1", 1, 5));
    Results two =
        Rows.results(Rows.ok("a", "1x1", 1, 30), Rows.row("b", "1x1", 1, Results.WRONG, "bad", 0));
    Results three = Rows.results(Rows.ok("a", "1x1", 1, 11));
    List<Results.Row> rows = Main.merge(List.of(one, two, three));
    assertEquals(2, rows.size());
    assertEquals(11, rows.get(0).microseconds());
    assertEquals(9.5, rows.get(0).low(), 1e-12);
    assertEquals(31.5, rows.get(0).high(), 1e-12);
    assertEquals(30, rows.get(0).rounds());
    assertFalse(rows.get(1).isOk(), "wrong once is wrong");
  }
}
