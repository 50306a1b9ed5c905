package org.batchnorm4j.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
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
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsTest {
  @TempDir Path dir;

  // ---------------------------------------------------------------------------------- round trip

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
    Path file = dir.resolve("t.safetensors");

    Safetensors.write(file, Map.of("t", t));
    Tensor back = Safetensors.read(file).get("t");

    assertEquals(dtype, back.dtype());
    assertEquals(t.shape(), back.shape());
    assertArrayEquals(t.toDoubleArray(), back.toDoubleArray());
  }

  @Test
  void countersComeBackExactly() throws IOException {
    long large = (1L << 62) + 1;
    Tensor three = Tensor.zeros(DType.I64, 3);
    three.narrow(0, 1, 1).setLong(-large);
    Path file = dir.resolve("t.safetensors");

    Safetensors.write(file, Map.of("scalar", Tensor.scalar(large), "three", three));
    Map<String, Tensor> back = Safetensors.read(file);

    assertEquals(Shape.of(), back.get("scalar").shape());
    assertEquals(large, back.get("scalar").getLong());
    assertEquals(-large, back.get("three").narrow(0, 1, 1).getLong());
    assertEquals(0, back.get("three").narrow(0, 2, 1).getLong());
  }

  @Test
  void namesOrderAndEmptyTensorsAreKept() throws IOException {
    Map<String, Tensor> state = new LinkedHashMap<>();
    state.put("z.weight", Tensor.of(new float[] {1, 2}, 2));
    state.put("empty", Tensor.zeros(4, 0, 2));
    state.put("a \"quoted\" \\ \n \u0001 \u00fc \ud83d\ude00", Tensor.of(new double[] {3}, 1));
    state.put("", Tensor.zeros(DType.F16, 1));
    Path file = dir.resolve("t.safetensors");

    Safetensors.write(file, state);
    Map<String, Tensor> back = Safetensors.read(file);

    assertEquals(List.copyOf(state.keySet()), List.copyOf(back.keySet()));
    assertEquals(Shape.of(4, 0, 2), back.get("empty").shape());
  }

  @Test
  void noTensorsAtAll() throws IOException {
    Path file = dir.resolve("t.safetensors");
    Safetensors.write(file, Map.of());
    assertEquals(Map.of(), Safetensors.read(file));
  }

  @Test
  void viewsAndChannelsLastAreWrittenRowMajor() throws IOException {
    float[] values = new float[24];
    for (int i = 0; i < values.length; i++) {
      values[i] = i;
    }
    Tensor t = Tensor.of(values, 2, 3, 4);
    Tensor slice = t.narrow(1, 1, 2);
    Tensor last = t.to(MemoryFormat.CHANNELS_LAST);
    Path file = dir.resolve("t.safetensors");

    Safetensors.write(file, Map.of("slice", slice, "last", last, "sample", t.narrow(0, 1, 1)));
    Map<String, Tensor> back = Safetensors.read(file);

    assertArrayEquals(slice.toFloatArray(), back.get("slice").toFloatArray());
    assertArrayEquals(values, back.get("last").toFloatArray());
    assertArrayEquals(Arrays.copyOfRange(values, 12, 24), back.get("sample").toFloatArray());
  }

  /** What the format's description says the bytes must be, the widest type first. */
  @Test
  void writesTheFormat() throws IOException {
    Map<String, Tensor> state = new LinkedHashMap<>();
    state.put("w", Tensor.of(new float[] {1, -2}, 1, 2));
    state.put("n", Tensor.scalar(7));
    Path file = dir.resolve("t.safetensors");

    Safetensors.write(file, state);

    String json =
        "{\"__metadata__\":{\"format\":\"pt\"},"
            + "\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
            + "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}";
    int padded = (json.length() + 7) / 8 * 8;
    ByteBuffer expected =
        ByteBuffer.allocate(8 + padded + 16).order(ByteOrder.LITTLE_ENDIAN).putLong(padded);
    expected.put((json + " ".repeat(padded - json.length())).getBytes(StandardCharsets.UTF_8));
    expected.putLong(7).putFloat(1).putFloat(-2);
    assertArrayEquals(expected.array(), Files.readAllBytes(file));
  }

  @Test
  void readsWhatTheFormatAllows() throws IOException {
    Path file =
        file(
            " { \"\\u0061\\/\\n\" : {\"shape\" : [ 2 , 1 ] ,\t\"data_offsets\":[0,8],".substring(1)
                + "\n\"dtype\":\"F32\"}, \"__metadata__\": {} }  \n",
            ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putFloat(1.5f)
                .putFloat(2)
                .array());
    Map<String, Tensor> tensors = Safetensors.read(file);
    assertArrayEquals(new float[] {1.5f, 2}, tensors.get("a/\n").toFloatArray());
  }

  // ------------------------------------------------------------------------------------- damage

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "x | byte 0: expected '{'",
        " [] | byte 0: expected '{'",
        "{ | expected '\"'",
        "{'a | a string does not end",
        "{'a\\ | a string does not end",
        "{'a\\q': | unknown escape \\q",
        "{'a\\u12g4': | four hexadecimal digits",
        "{'a\\u12': | four hexadecimal digits",
        "{'a'} | expected ':'",
        "{'a':1} | expected '{'",
        "{'a':{}} | expected '\"'",
        "{'a':{'dtype':[[[[[[[[]]]]]]]]}} | expected '\"'",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]} | expected '}'",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}, | something follows",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},} | expected '\"'",
        "{'__metadata__':{'a':1}} | expected '\"'",
        "{'__metadata__':{},'__metadata__':{}} | \"__metadata__\" comes twice",
        "{'a':{'shape':[2],'data_offsets':[0,8]}} | tensor \"a\": dtype is missing",
        "{'a':{'dtype':'F32','data_offsets':[0,8]}} | tensor \"a\": shape is missing",
        "{'a':{'dtype':'F32','shape':[2]}} | tensor \"a\": data_offsets is missing",
        "{'a':{'dtype':'F32','dtype':'F32'}} | tensor \"a\": dtype comes twice",
        "{'a':{'type':'F32'}} | tensor \"a\": type: unknown",
        "{'a':{'dtype':'U8','shape':[8],'data_offsets':[0,8]}} | "
            + "tensor \"a\": dtype \"U8\" is not one of [F32",
        "{'a':{'dtype':'f32','shape':[2],'data_offsets':[0,8]}} | "
            + "tensor \"a\": dtype \"f32\" is not",
        "{'a':{'dtype':32,'shape':[2],'data_offsets':[0,8]}} | expected '\"'",
        "{'a':{'dtype':'F32','shape':2,'data_offsets':[0,8]}} | expected '['",
        "{'a':{'dtype':'F32','shape':[-2],'data_offsets':[0,8]}} | "
            + "tensor \"a\": shape: expected a whole number",
        "{'a':{'dtype':'F32','shape':[02],'data_offsets':[0,8]}} | "
            + "tensor \"a\": shape: expected a whole number",
        "{'a':{'dtype':'F32','shape':[2.0],'data_offsets':[0,8]}} | expected ']'",
        "{'a':{'dtype':'F32','shape':[9223372036854775808],'data_offsets':[0,8]}} | "
            + "19 digits is too large",
        "{'a':{'dtype':'F32','shape':[4294967296,4294967296],'data_offsets':[0,8]}} | "
            + "tensor \"a\": shape [4294967296, 4294967296] has more",
        "{'a':{'dtype':'F32','shape':[4611686018427387904],'data_offsets':[0,0]}} | "
            + "tensor \"a\": data_offsets are 0 bytes, but",
        "{'a':{'dtype':'F32','shape':[3],'data_offsets':[0,8]}} | "
            + "tensor \"a\": data_offsets are 8 bytes, but F32 of shape [3]",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,7]}} | "
            + "tensor \"a\": data_offsets are 7 bytes",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[8,0]}} | "
            + "data_offsets: expected [begin, end], but got [8, 0]",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8,8]}} | "
            + "data_offsets: expected [begin, end]",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}} | "
            + "tensor \"a\": data_offsets begin at 4 after a gap",
        "{'a':{'dtype':'F32','shape':[4],'data_offsets':[0,16]}} | "
            + "tensor \"a\": data_offsets end at 16, but the file has only 8",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | "
            + "its tensors end at 4, but it has 8",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
            + "'b':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}} | "
            + "tensor \"b\": data_offsets begin at 4 and overlap",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
            + "'b':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}} | "
            + "tensor \"b\": data_offsets begin at 0 and overlap",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
            + "'a':{'dtype':'F32','shape':[0],'data_offsets':[8,8]}} | "
            + "\"a\" comes twice",
        "{'a':{'dtype':'F32','shape':[1000000000],'data_offsets':[0,4000000000]}} | "
            + "more than the 2 GiB",
      })
  void aDamagedHeaderIsNamed(String header, String says) throws IOException {
    Path file = file(header.replace('\'', '"'), new byte[8]);
    IOException e = assertThrows(IOException.class, () -> Safetensors.read(file));
    assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
    assertTrue(e.getMessage().contains(says), e.getMessage());
  }

  @Test
  void longTextsOfTheFileAreCutInMessages() throws IOException {
    Path file = file("{\"" + "n".repeat(100_000) + "\":{\"shape\":[]}}", new byte[0]);
    IOException e = assertThrows(IOException.class, () -> Safetensors.read(file));
    assertTrue(e.getMessage().length() < 1000);
  }

  @Test
  void moreDimensionsThanAnyTensorHasAreRefused() throws IOException {
    Path file = file("{\"a\":{\"shape\":[" + "1,".repeat(1_000_000), new byte[0]);
    IOException e = assertThrows(IOException.class, () -> Safetensors.read(file));
    assertTrue(e.getMessage().contains("shape: more than 64 numbers"), e.getMessage());
  }

  @Test
  void namesMustBeUtf8() throws IOException {
    byte[] header = "{\"?\":{}}".getBytes(StandardCharsets.UTF_8);
    header[2] = (byte) 0xff;
    Path file = dir.resolve("t.safetensors");
    Files.write(
        file,
        ByteBuffer.allocate(8 + header.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(header.length)
            .put(header)
            .array());
    IOException e = assertThrows(IOException.class, () -> Safetensors.read(file));
    assertTrue(e.getMessage().contains("is not UTF-8"), e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(longs = {3, 100_000_001, 1L << 40, Long.MAX_VALUE, -1})
  void aHeaderLongerThanTheFileOrTheFormatAllowsIsRefused(long size) throws IOException {
    Path file = dir.resolve("t.safetensors");
    Files.write(
        file,
        ByteBuffer.allocate(10)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(size)
            .put((byte) '{')
            .put((byte) '}')
            .array());
    IOException e = assertThrows(IOException.class, () -> Safetensors.read(file));
    assertTrue(
        e.getMessage().contains("header size is " + Long.toUnsignedString(size)), e.getMessage());
  }

  @Test
  void everyTruncationIsAnError() throws IOException {
    Path whole = dir.resolve("whole.safetensors");
    Safetensors.write(
        whole, Map.of("a", Tensor.of(new float[] {1, 2, 3}, 3), "n", Tensor.scalar(4)));
    byte[] bytes = Files.readAllBytes(whole);
    Path cut = dir.resolve("cut.safetensors");
    for (int length = 0; length < bytes.length; length++) {
      Files.write(cut, Arrays.copyOf(bytes, length));
      assertThrows(IOException.class, () -> Safetensors.read(cut));
    }
    Files.write(cut, Arrays.copyOf(bytes, bytes.length + 1));
    assertThrows(IOException.class, () -> Safetensors.read(cut));
  }

  /** Whatever byte is damaged: a tensor of the file's own size, or an IOException, nothing else. */
  @Test
  void anyDamagedByteIsHarmless() throws IOException {
    Path whole = dir.resolve("whole.safetensors");
    Safetensors.write(whole, Map.of("a\\b", Tensor.of(new float[] {1, 2, 3}, 3)));
    byte[] bytes = Files.readAllBytes(whole);
    Path damaged = dir.resolve("damaged.safetensors");
    Random random = new Random(2);
    int refused = 0;
    for (int i = 0; i < 1000; i++) {
      byte[] copy = bytes.clone();
      copy[random.nextInt(copy.length)] = (byte) random.nextInt(256);
      Files.write(damaged, copy);
      try {
        for (Tensor t : Safetensors.read(damaged).values()) {
          assertTrue(t.size() * t.dtype().bytes() <= bytes.length);
        }
      } catch (IOException e) {
        assertTrue(e.getMessage().startsWith(damaged.toString()), e.getMessage());
        refused++;
      }
    }
    assertTrue(refused > 300, refused + " refused");
  }

  @Test
  void aMissingFileAndAFolderAreNamed() {
    Path missing = dir.resolve("missing.safetensors");
    IOException e = assertThrows(NoSuchFileException.class, () -> Safetensors.read(missing));
    assertTrue(e.getMessage().contains(missing.toString()));
    IOException folder = assertThrows(IOException.class, () -> Safetensors.read(dir));
    assertEquals(dir + ": is a directory, expected a safetensors file", folder.getMessage());
  }

  // -------------------------------------------------------------------------- failures of writing

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = dir.resolve("t.safetensors");
    Safetensors.write(file, Map.of("a", Tensor.of(new float[] {1}, 1)));
    byte[] before = Files.readAllBytes(file);
    Tensor closed = Tensor.zeros(5000);
    closed.close();

    assertThrows(IllegalStateException.class, () -> Safetensors.write(file, Map.of("a", closed)));

    assertArrayEquals(before, Files.readAllBytes(file));
    try (Stream<Path> files = Files.list(dir)) {
      assertEquals(List.of(file), files.toList());
    }
  }

  @Test
  void aMissingFolderIsAnErrorAndStaysMissing() {
    Path folder = dir.resolve("missing");
    assertThrows(
        NoSuchFileException.class,
        () -> Safetensors.write(folder.resolve("t.safetensors"), Map.of("a", Tensor.zeros(1))));
    assertFalse(Files.exists(folder));
  }

  @ParameterizedTest
  @ValueSource(strings = {"__metadata__", "half \ud83d of a pair"})
  void namesTheFormatCannotHoldAreRefused(String name) throws IOException {
    Path file = dir.resolve("t.safetensors");
    assertThrows(
        IllegalArgumentException.class,
        () -> Safetensors.write(file, Map.of(name, Tensor.zeros(1))));
    assertFalse(Files.exists(file));
  }

  private Path file(String header, byte[] data) throws IOException {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes = ByteBuffer.allocate(8 + json.length + data.length);
    bytes.order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).put(json).put(data);
    return Files.write(dir.resolve("t.safetensors"), bytes.array());
  }
}
