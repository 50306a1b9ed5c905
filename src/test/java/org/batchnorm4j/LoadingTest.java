package org.batchnorm4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.batchnorm4j.nn.BatchNorm1d;
import org.batchnorm4j.nn.Linear;
import org.batchnorm4j.tensor.Tensor;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The library as users load it: from a jar, in a JVM of its own, with an empty cache folder. */
class LoadingTest {
  @TempDir static Path shared;
  @TempDir Path folder;

  private static Path jar;

  @BeforeAll
  static void packLibrary() throws IOException {
    assumeTrue(NativeLibrary.isLoaded(), "the native library is switched off");
    assumeTrue(Files.isDirectory(Path.of("/proc/self")), "asks Linux what is loaded");
    jar = pack("batchnorm4j.jar", ".");
  }

  /** A jar with a part of the library. */
  private static Path pack(String name, String part) throws IOException {
    Path manifest = Files.writeString(shared.resolve("manifest"), "Multi-Release: true\n");
    Path packed = shared.resolve(name);
    StringWriter said = new StringWriter();
    PrintWriter to = new PrintWriter(said);
    int status =
        ToolProvider.findFirst("jar")
            .orElseThrow()
            .run(
                to,
                to,
                "cfm",
                packed.toString(),
                manifest.toString(),
                "-C",
                "target/classes",
                part);
    assertEquals(0, status, said::toString);
    return packed;
  }

  private static String classPath() {
    String others =
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.endsWith(".jar"))
            .collect(Collectors.joining(File.pathSeparator));
    return jar + File.pathSeparator + others;
  }

  private static String run(String java, List<String> options) throws Exception {
    return run(java, options, First.class);
  }

  private static String run(String java, List<String> options, Class<?> main) throws Exception {
    List<String> command = new ArrayList<>(List.of(java));
    command.addAll(options);
    command.addAll(
        List.of("-cp", classPath() + File.pathSeparator + "target/test-classes", main.getName()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output;
  }

  private static String thisJava() {
    return Path.of(System.getProperty("java.home"), "bin", "java").toString();
  }

  private String cache() {
    return "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache");
  }

  /** Computes once, and prints how long that took and what was loaded. */
  public static final class First {
    private First() {}

    public static void main(String[] args) throws IOException {
      long start = System.nanoTime();
      BatchNorm1d bn = new BatchNorm1d(4);
      bn.eval();
      bn.forward(Tensor.zeros(2, 4)).get(0, 0);
      System.out.println("first result after " + (System.nanoTime() - start) / 1_000_000 + " ms");
      System.out.println(Backends.describe());
      System.out.println("OpenBLAS " + isLoaded("openblas"));
      System.out.println("JavaCPP's own library " + isLoaded("jnijavacpp"));
      new Linear(4, 3).forward(Tensor.zeros(2, 4));
      System.out.println("OpenBLAS after a product " + isLoaded("openblas"));
    }

    private static boolean isLoaded(String library) throws IOException {
      return Files.readString(Path.of("/proc/self/maps")).contains(library);
    }
  }

  /** What any JVM takes on this machine, at this time. */
  public static final class Nothing {
    private Nothing() {}

    public static void main(String[] args) {}
  }

  /**
   * The goal is 150 ms on an idle machine, where a JVM that does nothing takes 90. A loaded machine
   * is not to fail for it, nor one that always takes its time to start a JVM.
   */
  @Test
  void theFirstResultComesSoonAndWithoutOpenBlas() throws Exception {
    long best = Long.MAX_VALUE;
    long nothing = Long.MAX_VALUE;
    for (int i = 0; i < 10 && best >= 500; i++) {
      String output =
          run(
              thisJava(),
              List.of("-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache" + i)));
      assertTrue(output.contains("native backend"), output);
      assertTrue(output.contains("OpenBLAS false"), output);
      assertTrue(output.contains("JavaCPP's own library false"), output);
      assertTrue(output.contains("OpenBLAS after a product true"), output);
      best = Math.min(best, Long.parseLong(output.split("first result after | ms")[1]));
      long start = System.nanoTime();
      run(thisJava(), List.of(), Nothing.class);
      nothing = Math.min(nothing, (System.nanoTime() - start) / 1_000_000);
    }
    String message = "first result after " + best + " ms, a JVM that does nothing: " + nothing;
    assertTrue(best < Math.max(500, 4 * nothing), message);
  }

  @Test
  void theNativeJarIsSmall() throws IOException {
    Path natives = pack("natives.jar", "org/batchnorm4j/backend/jni/".concat(Loader.getPlatform()));
    long size = Files.size(natives);
    assertTrue(size > 100_000 && size < 2_000_000, "bytes: " + size);
  }

  /**
   * Where nothing can be written, Java takes over; the switch brings native back. What it unpacked
   * can be put where nothing is written later.
   */
  @Test
  void readOnlyFileSystems() throws Exception {
    Path file = Files.createFile(folder.resolve("file"));
    List<String> nowhere = List.of("-Duser.home=" + file, "-Djava.io.tmpdir=" + file);
    String output = run(thisJava(), nowhere);
    assertTrue(output.contains("java backend, because the native library is not used"), output);
    List<String> switched = new ArrayList<>(nowhere);
    switched.add(cache());
    output = run(thisJava(), switched);
    assertTrue(output.contains("native backend"), output);
    List<String> unpacked = new ArrayList<>(nowhere);
    unpacked.add("-Dorg.bytedeco.javacpp.pathsFirst=true");
    unpacked.add("-Djava.library.path=" + foldersOfLibraries());
    output = run(thisJava(), unpacked);
    assertTrue(output.contains("native backend"), output);
    assertTrue(output.contains("OpenBLAS after a product true"), output);
  }

  private String foldersOfLibraries() throws IOException {
    try (Stream<Path> files = Files.walk(folder.resolve("cache"))) {
      return files
          .filter(file -> file.toString().contains(".so"))
          .map(file -> file.getParent().toString())
          .distinct()
          .collect(Collectors.joining(File.pathSeparator));
    }
  }

  /** A file of the same name, size and date, as another build of a snapshot leaves behind. */
  @Test
  void aStaleFileInTheCacheIsReplaced() throws Exception {
    run(thisJava(), List.of(cache()));
    Path unpacked;
    try (Stream<Path> files = Files.walk(folder.resolve("cache"))) {
      unpacked = files.filter(file -> file.endsWith("libjnibatchnorm4j.so")).findFirst().get();
    }
    byte[] library = Files.readAllBytes(unpacked);
    FileTime date = Files.getLastModifiedTime(unpacked);
    byte[] stale = library.clone();
    Arrays.fill(stale, stale.length / 2, stale.length, (byte) 0);
    Files.write(unpacked, stale);
    Files.setLastModifiedTime(unpacked, date);
    String output = run(thisJava(), List.of(cache()));
    assertTrue(output.contains("native backend"), output);
    assertArrayEquals(library, Files.readAllBytes(unpacked));
  }

  @Test
  void severalClassLoaders() throws Exception {
    List<URL> urls = new ArrayList<>();
    for (String entry : classPath().split(File.pathSeparator)) {
      urls.add(Path.of(entry).toUri().toURL());
    }
    for (int i = 0; i < 3; i++) {
      try (URLClassLoader loader =
          new URLClassLoader(urls.toArray(new URL[0]), ClassLoader.getPlatformClassLoader())) {
        Class<?> backends = loader.loadClass(Backends.class.getName());
        String description = (String) backends.getMethod("describe").invoke(null);
        assertTrue(description.contains("native backend"), description);
      }
    }
  }

  /** Started as the README says, a newer JDK has nothing to warn of. */
  @Test
  void newerJdksDoNotWarn() throws Exception {
    Path builtWith = Path.of("target/classes/META-INF/versions/22/built-with");
    assumeTrue(Files.exists(builtWith), "no JDK 22 or later where the library was built");
    String java = Path.of(Files.readString(builtWith).strip(), "bin", "java").toString();
    String quiet = run(java, List.of("--enable-native-access=ALL-UNNAMED", cache()));
    assertTrue(quiet.startsWith("first result"), quiet);
    assertFalse(quiet.contains("WARNING"), quiet);
  }
}
