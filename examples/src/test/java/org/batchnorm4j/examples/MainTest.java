package org.batchnorm4j.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.batchnorm4j.io.Safetensors;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

class MainTest {
  @TempDir Path dir;

  private record Result(int code, String out, String err) {}

  private static Result run(String... args) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    CommandLine examples = Main.commandLine();
    examples.setOut(new PrintWriter(out)).setErr(new PrintWriter(err));
    int code = examples.execute(args);
    examples.getOut().flush();
    return new Result(code, out.toString(), err.toString());
  }

  // ----------------------------------------------------------------------------------- examples

  @ParameterizedTest
  @ValueSource(strings = {"", "--help"})
  void listsTheExamples(String argument) {
    Result result = argument.isEmpty() ? run() : run(argument);
    assertEquals(0, result.code);
    for (String name :
        new String[] {
          "mnist",
          "serve",
          "mlp",
          "compare",
          "compare-norms",
          "simple-cnn",
          "temporal",
          "volume",
          "order"
        }) {
      assertTrue(result.out.contains("\n  " + name + " "), name);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "mlp        | BatchNorm1d [64, 50] 0.000 .. 0.000 1.000 .. 1.000",
        "simple-cnn | Flatten [1, 16384]",
        "temporal   | BatchNorm1d [16, 4, 100] 0.000 .. 0.000 1.000 .. 1.000",
        "volume     | 0.000 .. 0.000 1.000 .. 1.000",
        "order      | sample 0 alone is refused: layer 1: Expected more than 1 value per channel",
        "order      | same input, same output: false",
        "order      | same input, same output: true",
        "order      | sample 0 alone as in its batch: true",
      })
  void showsWhatItPromises(String example, String shown) {
    Result result = run(example);
    assertEquals("", result.err);
    assertEquals(0, result.code);
    assertTrue(result.out.replaceAll(" +", " ").contains(shown), result.out);
    assertTrue(result.out.chars().allMatch(c -> c < 128), "not ASCII");
  }

  @Test
  void compareWritesItsPlots() throws IOException {
    Result result = run("compare", "--epochs", "100", "--out", dir.toString());
    assertEquals("", result.err);
    assertEquals(0, result.code);
    assertTrue(result.out.contains("epoch 50  epoch 100  test, eval()"), result.out);
    assertEquals(new TreeSet<>(Set.of("compare.png", "compare.svg")), files(dir));
  }

  /** All of the main job, on images of ours: each class is a bright row. */
  @Test
  void mnistTrainsPlotsSavesAndServesOnBothBackends() throws IOException {
    Path data = Files.createDirectory(dir.resolve("data"));
    writeImages(data, "train", 640);
    writeImages(data, "t10k", 100);
    Path out = dir.resolve("out");

    Result result =
        run("mnist", "--data", data.toString(), "--out", out.toString(), "--epochs", "2");

    assertEquals("", result.err);
    assertEquals(0, result.code, result.err);
    assertTrue(result.out.contains("640 training images, 100 test images"), result.out);
    assertTrue(result.out.contains("with batch norm    100 %  1,280/1,280 images"), result.out);
    assertTrue(result.out.matches("(?s).*with batch norm +\\d\\.\\d{4} +(9|100).*"), result.out);
    assertTrue(result.out.matches("(?s).*\n  native +(9|100).*\n  java +(9|100).*"), result.out);
    assertTrue(result.out.contains("Same bits: 1,894,400 outputs of batch norms"), result.out);
    assertEquals(new TreeSet<>(Set.of("mnist.png", "mnist.safetensors", "mnist.svg")), files(out));
    Map<String, Tensor> model = Safetensors.read(out.resolve("mnist.safetensors"));
    assertEquals(20, model.get("1.num_batches_tracked").getLong());
  }

  @Test
  void compareNormsTrainsOneNetworkWithEach() throws IOException {
    Path data = Files.createDirectory(dir.resolve("data"));
    writeImages(data, "train", 320);
    writeImages(data, "t10k", 100);
    Path out = dir.resolve("out");
    Result result =
        run("compare-norms", "--data", data.toString(), "--out", out.toString(), "--batch", "8");
    assertEquals("", result.err);
    assertEquals(0, result.code);
    for (String norm : new String[] {"batch", "instance", "group", "layer"}) {
      assertTrue(result.out.matches("(?s).*\n  " + norm + " +\\d\\.\\d{4} +(9|100).*"), result.out);
    }
    assertTrue(result.out.matches("(?s).*\n  none +\\d\\.\\d{4} +\\d.*"), result.out);
    assertEquals(new TreeSet<>(Set.of("compare-norms.png", "compare-norms.svg")), files(out));
  }

  // --------------------------------------------------------------------------------- wrong input

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "minst                    | unknown example or option minst; the examples are mnist, serve,",
        "serve --port 70000       | --port must be a whole number from 0 to 65535, but got 70000",
        "serve --queue -1         | --queue must be a whole number from 0 to 1000, but got -1",
        "serve --max-body 0       | --max-body must be a whole number from 1",
        "--fast                   | unknown example or option --fast",
        "mnist --fast             | Unknown option: '--fast'",
        "mnist 5                  | Unmatched argument at index 1: '5'",
        "mnist --epochs many      | Invalid value for option '--epochs': 'many' is not an int",
        "mnist --epochs 0         | --epochs must be a whole number from 1 to 1000, but got 0",
        "mnist --epochs           | Expected parameter for option '--epochs' but found '--out'",
        "mnist --batch -1         | --batch must be a whole number from 2",
        "mnist --batch 1          | --batch must be a whole number from 2",
        "mnist --images 0         | --images must be a whole number from 1",
        "mnist --images 10        | --batch must be at most the number of training images (--images), which is 10, but got 64",
        "mnist --images 100 --full | --full and --images contradict each other",
        "mnist --images 9999999999 | Invalid value for option '--images'",
        "mnist --lr 0             | --lr must be greater than 0 and finite, but got 0.0",
        "mnist --lr NaN           | --lr must be greater than 0 and finite, but got NaN",
        "mnist --lr 1e999         | --lr must be greater than 0 and finite, but got Infinity",
        "compare --epochs 0       | --epochs must be a whole number from 1",
        "compare --lr -1          | --lr must be greater than 0",
        "compare-norms --images 1 | --images must be a whole number from 2",
        "compare-norms --batch 13000 | --batch must be a whole number from 1 to 12000, but got 13000",
        "compare-norms --epochs 0 | --epochs must be a whole number from 1 to 1000, but got 0",
        "compare-norms --lr 0     | --lr must be greater than 0 and finite, but got 0.0",
      })
  void wrongArgumentsAreNamedAndExitWithTwo(String arguments, String message) throws IOException {
    Path out = dir.resolve("out");
    boolean writes = arguments.startsWith("mnist") || arguments.startsWith("compare");
    Result result = run((arguments + (writes ? " --out " + out : "")).split(" "));
    assertEquals(2, result.code);
    assertTrue(result.err.startsWith("error: " + message), result.err);
    assertTrue(result.err.contains(" --help"), result.err);
    assertFalse(Files.exists(out));
  }

  @ParameterizedTest
  @ValueSource(strings = {"mnist", "compare", "compare-norms"})
  void missingDataIsNamedAndExitsWithOne(String example) {
    Path out = dir.resolve("out");
    Path missing = dir.resolve("missing");
    Result result = run(example, "--data", missing.toString(), "--out", out.toString());
    assertEquals(1, result.code);
    assertEquals("error: the data folder " + missing + " does not exist\n", lines(result.err));
    result = run(example, "--data", dir.toString(), "--out", out.toString());
    assertEquals(1, result.code);
    assertTrue(
        result.err.startsWith("error: the data folder " + dir + " has no file "), result.err);
  }

  @ParameterizedTest
  @ValueSource(strings = {"mnist", "compare", "compare-norms"})
  void anOutputFolderThatCannotBeIsNamedBeforeAnyTraining(String example) throws IOException {
    Path file = Files.createFile(dir.resolve("file"));
    Result result = run(example, "--out", file.toString());
    assertEquals(1, result.code);
    assertTrue(
        result.err.startsWith("error: cannot write to the output folder " + file), result.err);
    assertEquals("", result.out);
  }

  // ------------------------------------------------------------------------------------- helpers

  private static String lines(String text) {
    return text.replace("\r\n", "\n");
  }

  private static TreeSet<String> files(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      TreeSet<String> names = new TreeSet<>();
      files.forEach(f -> names.add(f.getFileName().toString()));
      return names;
    }
  }

  private static void writeImages(Path folder, String prefix, int count) throws IOException {
    Random random = new Random(count);
    ByteBuffer images = ByteBuffer.allocate(16 + count * 784);
    images.putInt(0x803).putInt(count).putInt(28).putInt(28);
    ByteBuffer labels = ByteBuffer.allocate(8 + count).putInt(0x801).putInt(count);
    for (int i = 0; i < count; i++) {
      int label = random.nextInt(10);
      labels.put((byte) label);
      for (int p = 0; p < 784; p++) {
        boolean bright = p / 28 / 2 == label + 2;
        images.put((byte) (random.nextInt(100) + (bright ? 150 : 0)));
      }
    }
    Files.write(folder.resolve(prefix + "-images-idx3-ubyte"), images.array());
    Files.write(folder.resolve(prefix + "-labels-idx1-ubyte"), labels.array());
  }
}
