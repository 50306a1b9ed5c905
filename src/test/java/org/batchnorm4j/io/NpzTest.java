package org.batchnorm4j.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.batchnorm4j.nn.BatchNorm2d;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NpzTest {
  @TempDir Path dir;
  private Path file;

  @BeforeEach
  void setFile() {
    file = dir.resolve("t.npz");
  }

  private static Tensor values(DType dtype) {
    double[] values = new Random(1).doubles(20_001, -300, 300).toArray();
    return Tensor.zeros(dtype, 3, 59, 113).copyFrom(values);
  }

  @Test
  void everyTypeNameAndShapeComesBack() throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    for (DType dtype : List.of(DType.F32, DType.F64, DType.BF16, DType.F16)) {
      tensors.put("layer." + dtype, values(dtype));
    }
    tensors.put("counter", Tensor.scalar(-(1L << 62) - 1));
    tensors.put("empty", Tensor.zeros(4, 0, 2));
    tensors.put("", Tensor.zeros(1));
    tensors.put("a/b \u00fc \ud83d\ude00.npy", Tensor.zeros(1));

    Npz.write(file, tensors);
    Map<String, Tensor> back = Npz.read(file);

    assertEquals(List.copyOf(tensors.keySet()), List.copyOf(back.keySet()));
    tensors.forEach(
        (name, t) -> {
          Tensor b = back.get(name);
          assertEquals(t.dtype(), b.dtype());
          assertEquals(t.shape(), b.shape());
          assertArrayEquals(t.toDoubleArray(), b.toDoubleArray());
        });
    assertEquals(-(1L << 62) - 1, back.get("counter").getLong());
  }

  @Test
  void aModuleComesBack() throws IOException {
    BatchNorm2d bn = new BatchNorm2d(3);
    bn.forward(Tensor.zeros(2, 3, 4, 4).copyFrom(new Random(1).doubles(96).toArray()));
    Npz.write(file, bn.stateDict());
    BatchNorm2d other = new BatchNorm2d(3);
    other.loadStateDict(Npz.read(file));
    assertArrayEquals(bn.runningVar().toFloatArray(), other.runningVar().toFloatArray());
    assertEquals(1, other.numBatchesTracked().getLong());
  }

  @Test
  void equalTensorsMakeEqualFiles() throws IOException {
    Map<String, Tensor> tensors = Map.of("t", values(DType.F32));
    Npz.write(file, tensors);
    byte[] first = Files.readAllBytes(file);
    assertTrue(first.length < 4 * 20_001 + 1000);
    Npz.write(file, tensors);
    assertArrayEquals(first, Files.readAllBytes(file));
    Npz.write(file, Map.of());
    assertEquals(Map.of(), Npz.read(file));
  }

  /** numpy.savez stores, numpy.savez_compressed deflates. */
  @Test
  void readsStoredAndCompressedEntries() throws IOException {
    byte[] npy = npy(values(DType.F16));
    try (ZipOutputStream zip = zip()) {
      ZipEntry stored = new ZipEntry("stored.npy");
      stored.setMethod(ZipEntry.STORED);
      stored.setSize(npy.length);
      CRC32 crc = new CRC32();
      crc.update(npy);
      stored.setCrc(crc.getValue());
      zip.putNextEntry(stored);
      zip.write(npy);
      put(zip, "deflated.npy", npy);
    }
    Map<String, Tensor> back = Npz.read(file);
    float[] expected = values(DType.F16).toFloatArray();
    assertArrayEquals(expected, back.get("stored").toFloatArray());
    assertArrayEquals(expected, back.get("deflated").toFloatArray());
  }

  // --------------------------------------------------------------------------------- hostile files

  @Test
  void anArchiveThatExpandsIsReadOnlyIfAllowed() throws IOException {
    byte[] zeros = npy(Tensor.zeros(5_000_000));
    try (ZipOutputStream zip = zip()) {
      for (int i = 0; i < 4; i++) {
        put(zip, i + ".npy", zeros);
      }
    }
    assertTrue(Files.size(file) < 200_000);
    assertMessage(
        ": \"3.npy\": size is 20000128, with which the file expands to more than 67108864 bytes; if"
            + " you trust it, give read(file, maxBytes) a larger limit");
    Map<String, Tensor> all = Npz.read(file, 4 * 20_000_128L);
    assertEquals(Shape.of(5_000_000), all.get("3").shape());
    all.values().forEach(Tensor::close);
    assertThrows(IOException.class, () -> Npz.read(file, 4 * 20_000_128L - 1));
  }

  /** The directory at the end says how large an entry is; the entry may be otherwise. */
  @Test
  void sizesThatAreNotTrueAreErrors() throws IOException {
    try (ZipOutputStream zip = zip()) {
      put(zip, "t.npy", npy(Tensor.zeros(1000)));
    }
    byte[] bytes = Files.readAllBytes(file);
    int directory = new String(bytes, StandardCharsets.ISO_8859_1).indexOf("PK\1\2");
    ByteBuffer changed = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);

    Files.write(file, changed.putInt(directory + 24, 4129).array());
    assertMessage(
        ": \"t.npy\": npy header: shape [1000] of F32 needs 1000 x 4 bytes, but 4001 follow");
    Files.write(file, changed.putInt(directory + 24, 0x7fffff00).array());
    IOException e = assertThrows(IOException.class, () -> Npz.read(file));
    assertTrue(e.getMessage().contains("\"t.npy\": size is 2147483392"), e.getMessage());
    Files.write(file, changed.putInt(directory + 24, 4128).putInt(directory + 16, 5).array());
    assertMessage(": \"t.npy\": damaged: its bytes do not have the checksum of the file");

    // Header and directory agree, the entry ends early.
    byte[] npy = npy(Tensor.zeros(1000));
    try (ZipOutputStream zip = zip()) {
      put(zip, "t.npy", Arrays.copyOf(npy, 4000));
    }
    bytes = Files.readAllBytes(file);
    directory = new String(bytes, StandardCharsets.ISO_8859_1).indexOf("PK\1\2");
    changed = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    Files.write(file, changed.putInt(directory + 24, 4128).array());
    assertMessage(": \"t.npy\": has fewer bytes than its size says");
  }

  @Test
  void otherEntriesAreRefused() throws IOException {
    try (ZipOutputStream zip = zip()) {
      put(zip, "a.npy", npy(Tensor.zeros(1)));
      put(zip, "readme.txt", new byte[5]);
    }
    assertMessage(": \"readme.txt\": is not a .npy entry, of which npz files consist");
    try (ZipOutputStream zip = zip()) {
      put(zip, "a.npy", npy(Tensor.zeros(1)));
      put(zip, "b.npy", npy(Tensor.zeros(1)));
    }
    String twice =
        new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1).replace("b.npy", "a.npy");
    Files.write(file, twice.getBytes(StandardCharsets.ISO_8859_1));
    assertMessage(": \"a.npy\": comes twice");
    try (ZipOutputStream zip = zip()) {
      put(zip, "a.npy", new byte[5]);
    }
    assertMessage(": \"a.npy\": not an npy file: it ends within its header");
  }

  @Test
  void otherFilesAreRefused() throws IOException {
    Files.write(file, new byte[100]);
    IOException e = assertThrows(IOException.class, () -> Npz.read(file));
    assertTrue(e.getMessage().startsWith(file + ": not a whole npz file: "), e.getMessage());
    IOException folder = assertThrows(IOException.class, () -> Npz.read(dir));
    assertEquals(dir + ": is a directory, expected an npz file", folder.getMessage());
    Path missing = dir.resolve("missing.npz");
    assertThrows(NoSuchFileException.class, () -> Npz.read(missing));
  }

  @Test
  void everyTruncationIsAnError() throws IOException {
    Npz.write(file, Map.of("a", Tensor.zeros(3), "n", Tensor.scalar(4)));
    byte[] bytes = Files.readAllBytes(file);
    for (int length = 0; length < bytes.length; length++) {
      Files.write(file, Arrays.copyOf(bytes, length));
      assertThrows(IOException.class, () -> Npz.read(file));
    }
  }

  /** Whatever bytes are damaged: the same values, or an IOException that names the file. */
  @Test
  void anyDamageIsHarmless() throws IOException {
    try (ZipOutputStream zip = zip()) {
      put(zip, "t.npy", npy(Tensor.of(new float[] {1, 2, 3}, 3)));
    }
    byte[] bytes = Files.readAllBytes(file);
    Random random = new Random(2);
    int refused = 0;
    for (int i = 0; i < 3000; i++) {
      byte[] copy = bytes.clone();
      for (int k = random.nextInt(3); k >= 0; k--) {
        copy[random.nextInt(copy.length)] = (byte) random.nextInt(256);
      }
      Files.write(file, copy);
      try {
        for (Tensor t : Npz.read(file).values()) {
          assertArrayEquals(new float[] {1, 2, 3}, t.toFloatArray());
        }
      } catch (IOException e) {
        assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
        refused++;
      }
    }
    assertTrue(refused > 1500, refused + " refused");
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Npz.write(file, Map.of("a", Tensor.zeros(1)));
    byte[] before = Files.readAllBytes(file);
    Tensor closed = Tensor.zeros(5000);
    closed.close();
    Map<String, Tensor> bad = new LinkedHashMap<>();
    bad.put("good", Tensor.zeros(100_000));
    bad.put("bad", closed);
    assertThrows(IllegalStateException.class, () -> Npz.write(file, bad));
    Map<String, Tensor> longName = Map.of("x".repeat(70_000), Tensor.zeros(1));
    assertThrows(IllegalArgumentException.class, () -> Npz.write(file, longName));
    assertArrayEquals(before, Files.readAllBytes(file));
    try (Stream<Path> files = Files.list(dir)) {
      assertEquals(List.of(file), files.toList());
    }
  }

  private void assertMessage(String message) {
    assertEquals(
        file + message, assertThrows(IOException.class, () -> Npz.read(file)).getMessage());
  }

  private byte[] npy(Tensor t) throws IOException {
    Path one = dir.resolve("one.npy");
    Npy.write(one, t);
    byte[] bytes = Files.readAllBytes(one);
    Files.delete(one);
    return bytes;
  }

  private ZipOutputStream zip() throws IOException {
    OutputStream out = Files.newOutputStream(file);
    return new ZipOutputStream(out);
  }

  private static void put(ZipOutputStream zip, String name, byte[] content) throws IOException {
    zip.putNextEntry(new ZipEntry(name));
    zip.write(content);
    zip.closeEntry();
  }
}
