package org.batchnorm4j.examples.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MnistIdxTest {
  private static final String IMAGES = "t10k-images-idx3-ubyte";
  private static final String LABELS = "t10k-labels-idx1-ubyte";

  @TempDir Path dir;

  /** Facts about MNIST that are not of our making: its size, its first labels, its mean. */
  @Test
  void theJarHasTheRealMnist() throws IOException {
    MnistIdx train = MnistIdx.train(DataFiles.fromJar());
    assertEquals(60_000, train.size());
    assertEquals(10_000, MnistIdx.test(DataFiles.fromJar()).size());
    int[] labels = new int[10];
    Arrays.setAll(labels, train::label);
    assertArrayEquals(new int[] {5, 0, 4, 1, 9, 2, 1, 3, 1, 4}, labels);
    double sum = 0;
    double squares = 0;
    float[] image = new float[MnistIdx.PIXELS];
    for (int i = 0; i < train.size(); i++) {
      train.image(i, image, 0);
      for (float v : image) {
        sum += v;
        squares += v * v;
      }
    }
    double n = (double) train.size() * MnistIdx.PIXELS;
    assertEquals(0, sum / n, 1e-3);
    assertEquals(1, squares / n, 1e-3);
  }

  @Test
  void readsAFolderPackedOrNot() throws IOException {
    try (OutputStream out =
        new GZIPOutputStream(Files.newOutputStream(dir.resolve(IMAGES + ".gz")))) {
      out.write(images(2, 28, 28, 2 * 784));
    }
    Files.write(dir.resolve(LABELS), labels(3, 9));
    MnistIdx data = MnistIdx.test(DataFiles.in(dir));
    assertEquals(2, data.size());
    assertEquals(9, data.label(1));
    float[] to = new float[1000];
    data.image(1, to, 10);
    // Pixel p of the file is (byte) p, so the second image starts at 784 mod 256.
    assertEquals((784 % 256 / 255f - 0.1307f) / 0.3081f, to[10]);
    assertEquals(0, to[9]);
    assertEquals(0, to[10 + 784]);
  }

  @Test
  void aMissingFolderOrFileIsNamed() throws IOException {
    Path missing = dir.resolve("missing");
    assertMessage(() -> DataFiles.in(missing), "data folder " + missing + " does not exist");
    Path file = Files.createFile(dir.resolve("file"));
    assertMessage(() -> DataFiles.in(file), "data folder " + file + " is a file");
    assertMessage(
        () -> MnistIdx.train(DataFiles.in(dir)),
        "data folder " + dir + " has no file train-images-idx3-ubyte.gz");
    Files.write(dir.resolve(IMAGES), images(1, 28, 28, 784));
    assertMessage(() -> MnistIdx.test(DataFiles.in(dir)), "has no file " + LABELS + ".gz");
  }

  @Test
  void wrongMagicNumbersAreNamed() {
    assertMessage(
        () -> MnistIdx.readImages("x", in(labels(1, 2, 3, 4, 5, 6, 7))),
        "x: magic number is 0x00000801, expected 0x00000803 (IDX, images)");
    assertMessage(
        () -> MnistIdx.readLabels("x", in(images(1, 28, 28, 784))),
        "x: magic number is 0x00000803, expected 0x00000801 (IDX, labels)");
  }

  @Test
  void otherSizesAreRefused() {
    assertMessage(
        () -> MnistIdx.readImages("x", in(images(1, 28, 32, 28 * 32))),
        "x: its images are 28 x 32, expected 28 x 28");
    for (int count : new int[] {0, -1, Integer.MAX_VALUE}) {
      assertMessage(
          () -> MnistIdx.readImages("x", in(images(count, 28, 28, 784))),
          "x: its header says " + count + " items");
    }
    assertMessage(
        () -> MnistIdx.readLabels("x", in(labels(1, 10))), "x: label 1 is 10, expected 0 to 9");
    assertMessage(
        () -> MnistIdx.readImages("x", in(images(1, 28, 28, 785))),
        "x: more bytes follow than the 784");
  }

  /** 2.7 million images are promised and none are there: refused, without 2 GB for them. */
  @Test
  void aTruncatedFileIsNamedWithWhatIsMissing() throws IOException {
    Files.write(dir.resolve(IMAGES), images(2_700_000, 28, 28, 5));
    assertMessage(
        () -> MnistIdx.test(DataFiles.in(dir)),
        IMAGES + ".gz: damaged or cut off: its header promises 2116800000 bytes, but only 5");
    Files.write(dir.resolve(IMAGES), new byte[] {0, 0});
    assertMessage(() -> MnistIdx.test(DataFiles.in(dir)), IMAGES + ".gz: damaged or cut off");
  }

  @Test
  void damagedGzipIsNamed() throws IOException {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (OutputStream out = new GZIPOutputStream(packed)) {
      out.write(images(1, 28, 28, 784));
    }
    Path file = dir.resolve(IMAGES + ".gz");
    Files.write(file, Arrays.copyOf(packed.toByteArray(), packed.size() / 2));
    assertMessage(() -> MnistIdx.test(DataFiles.in(dir)), IMAGES + ".gz: damaged or cut off");
    Files.write(file, images(1, 28, 28, 784));
    assertMessage(() -> MnistIdx.test(DataFiles.in(dir)), IMAGES + ".gz: damaged or cut off");
  }

  @Test
  void asManyLabelsAsImages() throws IOException {
    Files.write(dir.resolve(IMAGES), images(2, 28, 28, 2 * 784));
    Files.write(dir.resolve(LABELS), labels(1));
    assertMessage(
        () -> MnistIdx.test(DataFiles.in(dir)),
        IMAGES + ".gz has 2 images, but " + LABELS + ".gz has 1 labels");
  }

  private static byte[] images(int count, int height, int width, int bytes) {
    ByteBuffer out = ByteBuffer.allocate(16 + bytes);
    out.putInt(0x803).putInt(count).putInt(height).putInt(width);
    for (int i = 0; i < bytes; i++) {
      out.put((byte) i);
    }
    return out.array();
  }

  private static byte[] labels(int... labels) {
    ByteBuffer out = ByteBuffer.allocate(8 + labels.length).putInt(0x801).putInt(labels.length);
    for (int label : labels) {
      out.put((byte) label);
    }
    return out.array();
  }

  private static ByteArrayInputStream in(byte[] bytes) {
    return new ByteArrayInputStream(bytes);
  }

  private interface Read {
    Object run() throws IOException;
  }

  private static void assertMessage(Read read, String part) {
    IOException e = assertThrows(IOException.class, read::run);
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }
}
