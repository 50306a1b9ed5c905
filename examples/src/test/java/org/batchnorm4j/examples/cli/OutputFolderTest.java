package org.batchnorm4j.examples.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OutputFolderTest {
  @TempDir Path dir;

  @Test
  void isMadeAndWrittenTo() throws IOException {
    OutputFolder out = OutputFolder.prepare(dir.resolve("a/b"));
    out.write("x.txt", o -> o.write('1'));
    Path file = out.write("x.txt", o -> o.write('2'));
    assertEquals(dir.resolve("a/b/x.txt"), file);
    assertEquals("2", Files.readString(file));
  }

  @Test
  void aFolderThatCannotBeIsNamed() throws IOException {
    Path file = Files.createFile(dir.resolve("file"));
    for (Path folder : List.of(file, file.resolve("below"))) {
      IOException e = assertThrows(IOException.class, () -> OutputFolder.prepare(folder));
      assertTrue(
          e.getMessage().startsWith("cannot write to the output folder " + folder + ": "),
          e.getMessage());
    }
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    OutputFolder out = OutputFolder.prepare(dir);
    Path file = out.write("x.txt", o -> o.write('1'));
    assertThrows(
        IOException.class,
        () ->
            out.write(
                "x.txt",
                o -> {
                  o.write('2');
                  throw new IOException("disk full");
                }));
    assertEquals("1", Files.readString(file));
    try (Stream<Path> files = Files.list(dir)) {
      assertEquals(List.of(file), files.toList());
    }
  }
}
