package org.batchnorm4j.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class NpyTest {
  @TempDir Path dir;

  /** 20,001 elements: two full chunks and a rest. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F64", "BF16", "F16"})
  void everyFloatTypeComesBackBitForBit(DType dtype) throws IOException {
    Random random = new Random(1);
    Tensor t = Tensor.zeros(dtype, 3, 59, 113);
    t.copyFrom(random.doubles(t.size(), -300, 300).toArray());
    t.set(Double.NEGATIVE_INFINITY, 0, 0, 0);
    t.set(-0.0, 0, 0, 1);
    Path file = dir.resolve("t.npy");

    Npy.write(file, t);
    Tensor back = Npy.read(file);

    assertEquals(dtype, back.dtype());
    assertEquals(t.shape(), back.shape());
    assertArrayEquals(t.toDoubleArray(), back.toDoubleArray());
  }

  @Test
  void integersScalarsAndEmptyTensorsComeBack() throws IOException {
    long large = (1L << 62) + 1;
    Path file = dir.resolve("t.npy");
    Npy.write(file, Tensor.scalar(large));
    assertEquals(Shape.of(), Npy.read(file).shape());
    assertEquals(large, Npy.read(file).getLong());
    Npy.write(file, Tensor.zeros(4, 0, 2));
    assertEquals(Shape.of(4, 0, 2), Npy.read(file).shape());
  }

  @Test
  void viewsAndChannelsLastAreWrittenRowMajor() throws IOException {
    Tensor t = count(DType.F32, 2, 3, 4);
    Path file = dir.resolve("t.npy");
    Npy.write(file, t.narrow(1, 1, 2));
    assertArrayEquals(t.narrow(1, 1, 2).toFloatArray(), Npy.read(file).toFloatArray());
    Npy.write(file, t.to(MemoryFormat.CHANNELS_LAST));
    assertArrayEquals(t.toFloatArray(), Npy.read(file).toFloatArray());
  }

  // ---------------------------------------------------------------------------------------- NumPy

  /** What numpy.save 2.4 writes for these. */
  @Test
  void writesTheBytesOfNumPy() throws IOException {
    Path file = dir.resolve("t.npy");
    Npy.write(file, Tensor.of(new float[] {0, 1, 2, 3, 4, 5}, 2, 3));
    byte[] values = floats(ByteOrder.LITTLE_ENDIAN, 0, 1, 2, 3, 4, 5);
    assertArrayEquals(
        npy(1, pad("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 118), values),
        Files.readAllBytes(file));
    Npy.write(file, Tensor.zeros(DType.BF16, 2).copyFrom(new float[] {1.5f, 2}));
    assertArrayEquals(
        npy(
            1,
            pad("{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }", 118),
            new byte[] {(byte) 0xc0, 0x3f, 0, 0x40}),
        Files.readAllBytes(file));
    Npy.write(file, Tensor.zeros(DType.F64));
    assertArrayEquals(
        npy(1, pad("{'descr': '<f8', 'fortran_order': False, 'shape': (), }", 118), new byte[8]),
        Files.readAllBytes(file));
  }

  @Test
  void readsBigEndianFortranOrder() throws IOException {
    // numpy.save(numpy.asfortranarray(numpy.arange(6, dtype='>f4').reshape(2, 3)))
    Path file =
        file(
            1,
            pad("{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }", 118),
            floats(ByteOrder.BIG_ENDIAN, 0, 3, 1, 4, 2, 5));
    Tensor t = Npy.read(file);
    assertEquals(Shape.of(2, 3), t.shape());
    assertArrayEquals(new float[] {0, 1, 2, 3, 4, 5}, t.toFloatArray());
  }

  /** Element (i, j, k) of Fortran order lies at i + 30 (j + 17 k): larger than one chunk. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void readsFortranOrderOfEveryType(DType dtype) throws IOException {
    Tensor t = count(dtype, 30, 17, 20);
    Tensor reversed = Tensor.zeros(dtype, 20, 17, 30);
    for (int i = 0; i < 30; i++) {
      for (int j = 0; j < 17; j++) {
        for (int k = 0; k < 20; k++) {
          set(reversed, value(t, (i * 17L + j) * 20 + k), (k * 17L + j) * 30 + i);
        }
      }
    }
    Path file = dir.resolve("t.npy");
    Npy.write(file, reversed);
    String header = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
    header = header.replace("False", "True ").replace("(20, 17, 30)", "(30, 17, 20)");
    Files.write(file, header.getBytes(StandardCharsets.ISO_8859_1));

    Tensor back = Npy.read(file);
    assertEquals(t.shape(), back.shape());
    for (long i = 0; i < t.size(); i++) {
      assertEquals(value(t, i), value(back, i));
    }
  }

  /** Versions 2 and 3 have a longer length, Python 2 an L behind long integers. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "1|{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "2|{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "3|{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "1|{\"shape\":(2L,),\"fortran_order\":True,\"descr\":\"<f4\"}",
      })
  void readsEveryVersion(int version, String header) throws IOException {
    Path file = file(version, header, floats(ByteOrder.LITTLE_ENDIAN, 7, 8));
    assertArrayEquals(new float[] {7, 8}, Npy.read(file).toFloatArray());
  }

  // --------------------------------------------------------------------------------- hostile files

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
            + "|shape [3] of F32 needs 3 x 4 bytes, but 8 follow",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
            + "|shape [1] of F32 needs 1 x 4 bytes, but 8 follow",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387906,), }"
            + "|shape [4611686018427387906] of F32 needs 4611686018427387906 x 4 bytes",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 9223372036854775807), }"
            + "|has more than 2^63-1 elements",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }"
            + "|shape: a number of 19 digits is too large",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }"
            + "|shape: expected a whole number from 0 at byte",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2, }|shape: expected '('",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2}|shape: expected ')'",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }"
            + "|descr \"<i4\" is not one of f4, f8, f2, i8 (each < or >) and V2 (bf16)",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"
            + "|descr: expected a string",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }"
            + "|fortran_order: expected True or False",
        "{'descr': '<f4', 'fortran_order': False}|shape is missing",
        "{'descr': '<f4', 'shape': (2,)}|fortran_order is missing",
        "{'fortran_order': False, 'shape': (2,)}|descr is missing",
        "{'other': '<f4'}|\"other\" is unknown",
        "{'descr': '<f4|descr: a string does not end",
        "{'descr'}|expected ':'",
        "{'descr': '<f4' 'shape': (2,)}|expected '}'",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x|something follows",
        "()|expected '{'",
        "``|expected '{'",
      })
  void badHeadersAreNamed(String header, String message) throws IOException {
    Path file = file(1, header, new byte[8]);
    IOException e = assertThrows(IOException.class, () -> Npy.read(file));
    assertTrue(e.getMessage().startsWith(file + ": npy header: "), e.getMessage());
    assertTrue(e.getMessage().contains(message), e.getMessage());
  }

  @Test
  void otherFilesAreRefused() throws IOException {
    Path file = Files.write(dir.resolve("t.npy"), "PK\3\4 nothing of the kind".getBytes());
    assertMessage(file, ": not an npy file: it does not begin with \\x93NUMPY");
    Files.write(file, npy(4, "{}", new byte[0]));
    assertMessage(file, ": npy version 4 is not one of 1, 2 and 3");
    ByteBuffer huge = ByteBuffer.wrap(npy(2, "{}", new byte[0])).order(ByteOrder.LITTLE_ENDIAN);
    Files.write(file, huge.putInt(8, -1).array());
    assertMessage(file, ": npy header: length is 4294967295, expected at most 2");
    String many = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1,".repeat(65) + ")}";
    Files.write(file, npy(1, many, new byte[4]));
    assertMessage(file, ": npy header: shape: more than 64 dimensions");
    Path missing = dir.resolve("missing.npy");
    IOException e = assertThrows(NoSuchFileException.class, () -> Npy.read(missing));
    assertTrue(e.getMessage().contains(missing.toString()));
    IOException folder = assertThrows(IOException.class, () -> Npy.read(dir));
    assertEquals(dir + ": is a directory, expected an npy file", folder.getMessage());
  }

  private static void assertMessage(Path file, String message) {
    assertEquals(
        file + message, assertThrows(IOException.class, () -> Npy.read(file)).getMessage());
  }

  @Test
  void everyTruncationIsAnError() throws IOException {
    Path file = dir.resolve("t.npy");
    Npy.write(file, count(DType.F64, 3, 2));
    byte[] bytes = Files.readAllBytes(file);
    for (int length = 0; length < bytes.length; length++) {
      Files.write(file, Arrays.copyOf(bytes, length));
      assertThrows(IOException.class, () -> Npy.read(file));
    }
    Files.write(file, Arrays.copyOf(bytes, bytes.length + 1));
    assertThrows(IOException.class, () -> Npy.read(file));
  }

  /** Whatever bytes are damaged: a tensor of the file's own size, or an IOException. */
  @Test
  void anyDamageIsHarmless() throws IOException {
    Path file = dir.resolve("t.npy");
    Npy.write(file, count(DType.F16, 3, 2));
    byte[] bytes = Files.readAllBytes(file);
    Random random = new Random(2);
    int refused = 0;
    for (int i = 0; i < 2000; i++) {
      byte[] copy = bytes.clone();
      for (int k = random.nextInt(3); k >= 0; k--) {
        copy[random.nextInt(copy.length)] = (byte) random.nextInt(256);
      }
      Files.write(file, copy);
      try (Tensor t = Npy.read(file)) {
        assertTrue(t.size() * t.dtype().bytes() <= bytes.length);
      } catch (IOException e) {
        assertTrue(e.getMessage().startsWith(file.toString()));
        refused++;
      }
    }
    assertTrue(refused > 1000, refused + " refused");
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = dir.resolve("t.npy");
    Npy.write(file, Tensor.zeros(1));
    byte[] before = Files.readAllBytes(file);
    Tensor closed = Tensor.zeros(5000);
    closed.close();
    assertThrows(IllegalStateException.class, () -> Npy.write(file, closed));
    assertArrayEquals(before, Files.readAllBytes(file));
    try (Stream<Path> files = Files.list(dir)) {
      assertEquals(List.of(file), files.toList());
    }
  }

  // ---------------------------------------------------------------------------------------- making

  private static Tensor count(DType dtype, long... shape) {
    Tensor t = Tensor.zeros(dtype, shape);
    for (long i = 0; i < t.size(); i++) {
      set(t, i % 2000, i);
    }
    return t;
  }

  private static void set(Tensor t, long value, long at) {
    Tensor one = t.reshape(t.size()).narrow(0, at, 1);
    if (t.dtype() == DType.I64) {
      one.setLong(value);
    } else {
      one.set(value, 0);
    }
  }

  private static long value(Tensor t, long at) {
    Tensor one = t.reshape(t.size()).narrow(0, at, 1);
    return t.dtype() == DType.I64 ? one.getLong() : (long) one.get(0);
  }

  private static byte[] floats(ByteOrder order, float... values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(order);
    bytes.asFloatBuffer().put(values);
    return bytes.array();
  }

  private static String pad(String header, int length) {
    return header + " ".repeat(length - 1 - header.length()) + "\n";
  }

  private static byte[] npy(int version, String header, byte[] values) {
    ByteBuffer bytes = ByteBuffer.allocate(12 + header.length() + values.length);
    bytes.order(ByteOrder.LITTLE_ENDIAN);
    bytes.put(new byte[] {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', (byte) version, 0});
    if (version == 1) {
      bytes.putShort((short) header.length());
    } else {
      bytes.putInt(header.length());
    }
    bytes.put(header.getBytes(StandardCharsets.US_ASCII)).put(values);
    return Arrays.copyOf(bytes.array(), bytes.position());
  }

  private Path file(int version, String header, byte[] values) throws IOException {
    return Files.write(dir.resolve("t.npy"), npy(version, header, values));
  }
}
