package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The part of the multi-release jar for JDK 22, on the JDK that compiled it. */
class SegmentsTest {
  private static final Path CLASSES = Path.of("target/classes");

  @ParameterizedTest
  @ValueSource(strings = {"auto", "java"})
  void segmentsWorkFromTheJarOnItsJdk(String backend, @TempDir Path folder) throws Exception {
    Path builtWith = CLASSES.resolve("META-INF/versions/22/built-with");
    assumeTrue(Files.exists(builtWith), "no JDK 22 or later where the library was built");
    Path jar = jar(folder);
    Process process =
        new ProcessBuilder(
                Path.of(Files.readString(builtWith).strip(), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dorg.batchnorm4j.backend=" + backend,
                "-cp",
                jar + File.pathSeparator + dependencies(),
                "src/test/jdk22/SegmentCheck.java")
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    // Also: no warning of restricted methods.
    assertTrue(output.matches("segments: all is well on Java \\d+\\R"), output);
  }

  /** The jar tool also checks that the releases have one public API. */
  private static Path jar(Path folder) throws IOException {
    Path manifest = Files.writeString(folder.resolve("manifest"), "Multi-Release: true\n");
    Path jar = folder.resolve("batchnorm4j.jar");
    StringWriter said = new StringWriter();
    PrintWriter to = new PrintWriter(said);
    int status =
        ToolProvider.findFirst("jar")
            .orElseThrow()
            .run(to, to, "cfm", jar.toString(), manifest.toString(), "-C", CLASSES.toString(), ".");
    assertEquals(0, status, said::toString);
    return jar;
  }

  private static String dependencies() {
    return Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
        .filter(entry -> entry.endsWith(".jar"))
        .collect(Collectors.joining(File.pathSeparator));
  }

  @Test
  void earlierJdksSayWhatIsMissing() {
    assumeTrue(Runtime.version().feature() < 22, "this JDK has segments");
    UnsupportedOperationException e =
        assertThrows(
            UnsupportedOperationException.class,
            () -> Tensor.wrapSegment(new Object(), DType.F32, 1));
    assertTrue(e.getMessage().startsWith("wrapSegment needs JDK 22 or later"), e.getMessage());
  }
}
