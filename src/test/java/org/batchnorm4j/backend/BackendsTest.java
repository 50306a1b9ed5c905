package org.batchnorm4j.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The switches, each in a JVM of its own, since a backend is picked once. */
class BackendsTest {

  /** Prints what is picked, twice: a failure must be as clear the second time. */
  public static final class Show {
    private Show() {}

    public static void main(String[] args) {
      for (int i = 0; i < 2; i++) {
        try {
          System.out.println(Backends.describe() + ", limit " + Backends.threadLimit());
          // Too late to be heeded.
          System.setProperty("org.batchnorm4j.threads", "7");
        } catch (RuntimeException e) {
          System.out.println(e.getClass().getSimpleName() + ": " + e.getMessage());
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "backend=java|java backend, because the native library is not used: switched off",
        "backend=native|native backend",
        "backend=fast|IllegalArgumentException: system property org.batchnorm4j.backend must be one of: auto, native, java; but got \"fast\"",
        "isa=sse9|IllegalArgumentException: system property org.batchnorm4j.isa must be one of: auto, avx512, avx2, neon, scalar; but got \"sse9\"",
        "threads=3|up to 3 threads, limit 3",
        "threads=0|IllegalArgumentException: system property org.batchnorm4j.threads must be one of: whole numbers from 1; but got \"0\""
      })
  void everySwitchIsHeededOrRefused(String property, String expected) throws Exception {
    List<String> lines = show(List.of("-Dorg.batchnorm4j." + property), classPath());
    assertEquals(2, lines.size(), lines::toString);
    for (String line : lines) {
      assertTrue(line.contains(expected), line);
    }
  }

  /**
   * Each instruction set this CPU has can be asked for; one that it lacks is a cap above the best.
   */
  @Test
  void anInstructionSetIsTheMostThatIsUsed() throws Exception {
    assumeTrue(NativeLibrary.isLoaded(), "the native library is switched off");
    Isa best = Collections.max(Backends.supportedIsas());
    for (Isa cap : Isa.values()) {
      if (isElsewhere(cap)) {
        continue;
      }
      Isa used =
          Backends.supportedIsas().contains(cap)
              ? cap
              : cap.compareTo(best) > 0 ? best : Isa.SCALAR;
      String option = "-Dorg.batchnorm4j.isa=" + cap.name().toLowerCase(Locale.ROOT);
      String expected = "native backend, " + used.name().toLowerCase(Locale.ROOT) + ",";
      for (String line : show(List.of(option), classPath())) {
        assertTrue(line.contains(expected), option + " gave: " + line);
      }
    }
  }

  @Test
  void anInstructionSetOfAnotherArchitectureIsRefused() throws Exception {
    assumeTrue(NativeLibrary.isLoaded(), "the native library is switched off");
    for (Isa isa : Isa.values()) {
      if (isElsewhere(isa)) {
        String option = "-Dorg.batchnorm4j.isa=" + isa.name().toLowerCase(Locale.ROOT);
        String expected =
            isa == Isa.NEON ? "auto, avx512, avx2, scalar on " : "auto, neon, scalar on ";
        for (String line : show(List.of(option), classPath())) {
          assertTrue(line.contains("org.batchnorm4j.isa must be one of: " + expected), line);
        }
      }
    }
  }

  private static boolean isElsewhere(Isa isa) {
    boolean arm = Backends.supportedIsas().contains(Isa.NEON);
    return isa != Isa.SCALAR && arm != (isa == Isa.NEON);
  }

  /** As on a platform whose classifier jar is missing. */
  @Test
  void withoutTheNativeLibraryJavaTakesOverAndSaysSo() throws Exception {
    String missing = "-Dorg.bytedeco.javacpp.platform=linux-none";
    String all = String.join("\n", show(List.of(missing), classPath()));
    assertTrue(all.contains("java backend, because the native library is not used"), all);
    assertTrue(all.contains("batchnorm4j runs on its Java backend, because"), all);
    assertTrue(all.contains("Add batchnorm4j's jar with the classifier linux-none"), all);

    List<String> options = List.of(missing, "-Dorg.batchnorm4j.backend=native");
    all = String.join("\n", show(options, classPath()));
    assertTrue(
        all.contains("IllegalStateException: the native library of batchnorm4j cannot"), all);
  }

  private static List<String> classPath() {
    return List.of(System.getProperty("java.class.path").split(File.pathSeparator));
  }

  private static List<String> show(List<String> options, List<String> classPath)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    if (Runtime.version().feature() >= 24) {
      command.add("--enable-native-access=ALL-UNNAMED"); // else it warns, and lines are counted
    }
    command.addAll(options);
    command.add("-cp");
    command.add(String.join(File.pathSeparator, classPath));
    command.add(Show.class.getName());
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    assertEquals(0, process.waitFor(), output);
    return output.lines().toList();
  }
}
