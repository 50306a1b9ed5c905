package org.batchnorm4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The Java in the documentation compiles, the README's does what its comments say, links lead
 * somewhere.
 */
class DocsTest {
  private static final Pattern JAVA = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);
  private static final Pattern TEST = Pattern.compile("`(\\w+Test)\\.(\\w+)`");
  private static final Pattern NAME = Pattern.compile("\\bclass (\\w+)");
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)#:]+)(?:#[^)]*)?\\)");

  static List<Path> pages() throws IOException {
    List<Path> pages = new ArrayList<>(List.of(Path.of("README.md"), Path.of("CONTRIBUTING.md")));
    try (Stream<Path> docs = Files.walk(Path.of("docs"))) {
      docs.filter(p -> p.toString().endsWith(".md")).sorted().forEach(pages::add);
    }
    return pages;
  }

  @ParameterizedTest
  @MethodSource("pages")
  void javaCompiles(Path page, @TempDir Path folder) throws IOException {
    Matcher blocks = JAVA.matcher(Files.readString(page));
    while (blocks.find()) {
      compile(blocks.group(1), folder);
    }
  }

  @ParameterizedTest
  @MethodSource("pages")
  void linksLeadSomewhere(Path page) throws IOException {
    Matcher links = LINK.matcher(Files.readString(page));
    while (links.find()) {
      Path target = page.toAbsolutePath().getParent().resolve(links.group(1));
      assertTrue(Files.exists(target), () -> page + " links to " + target + ", which is not there");
    }
  }

  /** Each difference from PyTorch names the test that pins it. */
  @Test
  void theTestsOfTheDifferencesAreThere() throws IOException {
    int rows = 0;
    for (String line : Files.readAllLines(Path.of("docs/differences-from-pytorch.md"))) {
      if (!line.startsWith("| ") || line.startsWith("| |") || line.startsWith("| ---")) {
        continue;
      }
      rows++;
      Matcher tests = TEST.matcher(line.substring(line.lastIndexOf("| `")));
      int named = 0;
      while (tests.find()) {
        named++;
        String file = tests.group(1) + ".java";
        String method = "void " + tests.group(2) + "(";
        try (Stream<Path> sources = Files.walk(Path.of("src/test/java"))) {
          Path source =
              sources.filter(p -> p.endsWith(file)).findFirst().orElseGet(() -> fail("no " + file));
          assertTrue(
              Files.readString(source).contains(method), () -> "no " + method + " in " + file);
        }
      }
      assertTrue(named > 0, () -> "no test: " + line);
    }
    assertTrue(rows > 30, "rows: " + rows);
  }

  @Test
  void readmePrintsWhatItSays(@TempDir Path folder) throws Exception {
    Matcher block = JAVA.matcher(Files.readString(Path.of("README.md")));
    assertTrue(block.find(), "README.md has no Java");
    String name = compile(block.group(1), folder);
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream console = System.out;
    try (URLClassLoader loader =
        new URLClassLoader(new URL[] {folder.toUri().toURL()}, getClass().getClassLoader())) {
      var main = loader.loadClass(name).getDeclaredMethod("main", String[].class);
      main.setAccessible(true);
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      main.invoke(null, (Object) new String[0]);
    } finally {
      System.setOut(console);
    }
    String[] lines = printed.toString(StandardCharsets.UTF_8).split("\\R");
    assertEquals(3, lines.length);
    assertTrue(lines[0].startsWith("-1.341635"), lines[0]);
    assertEquals(0.25, Double.parseDouble(lines[1]));
    assertFalse(lines[2].startsWith("-1.34"), lines[2]);
  }

  private static String compile(String source, Path folder) throws IOException {
    Matcher name = NAME.matcher(source);
    assertTrue(name.find(), () -> "no class in:\n" + source);
    Path file = Files.writeString(folder.resolve(name.group(1) + ".java"), source);
    ByteArrayOutputStream errors = new ByteArrayOutputStream();
    int status =
        ToolProvider.getSystemJavaCompiler()
            .run(
                null,
                null,
                errors,
                "-cp",
                System.getProperty("java.class.path"),
                "-d",
                folder.toString(),
                file.toString());
    assertEquals(0, status, () -> errors.toString(StandardCharsets.UTF_8) + "\n" + source);
    return name.group(1);
  }
}
