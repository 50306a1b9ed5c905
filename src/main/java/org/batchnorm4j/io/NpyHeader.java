package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * What comes before the values of an npy file: versions 1 to 3 of NumPy's format. The Python
 * dictionary in it is parsed as far as NumPy writes such dictionaries, and no further.
 *
 * @param dtype the type of the elements
 * @param order the order of an element's bytes
 * @param columnMajor whether the first index runs fastest
 * @param shape the dimensions
 * @param length the bytes of magic, version and header
 */
record NpyHeader(DType dtype, ByteOrder order, boolean columnMajor, Shape shape, long length) {
  private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y'};
  private static final int ALIGNMENT = 64;

  /** Longer ones describe structures, or nothing. */
  private static final int MAX_LENGTH = 1 << 16;

  private static final int MAX_RANK = 64;
  private static final String KNOWN = "f4, f8, f2, i8 (each < or >) and V2 (bf16)";

  // ------------------------------------------------------------------------------------- writing

  /** The header of a tensor whose values are written row-major and little-endian. */
  static byte[] format(Tensor t) {
    String descr =
        switch (t.dtype()) {
          case F32 -> "<f4";
          case F64 -> "<f8";
          case F16 -> "<f2";
          case I64 -> "<i8";
          // NumPy has no bf16: this is what it makes of that of ml_dtypes.
          case BF16 -> "<V2";
        };
    StringBuilder shape = new StringBuilder("(");
    for (int i = 0; i < t.shape().rank(); i++) {
      shape.append(i == 0 ? "" : " ").append(t.shape().dim(i)).append(',');
    }
    if (t.shape().rank() > 1) {
      shape.setLength(shape.length() - 1);
    }
    String dictionary =
        "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + "), }";
    int before = MAGIC.length + 4;
    int end = before + dictionary.length() + 1;
    int total = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    byte[] header = new byte[total];
    Arrays.fill(header, (byte) ' ');
    ByteBuffer.wrap(header)
        .order(ByteOrder.LITTLE_ENDIAN)
        .put(MAGIC)
        .put((byte) 1)
        .put((byte) 0)
        .putShort((short) (total - before))
        .put(dictionary.getBytes(StandardCharsets.US_ASCII));
    header[total - 1] = '\n';
    return header;
  }

  // ------------------------------------------------------------------------------------- reading

  /**
   * Reads the header and leaves the source at the first value.
   *
   * @param what the file, or entry of a file, for errors
   * @param available the bytes of header and values together
   */
  static NpyHeader read(String what, Values.Source source, long available) throws IOException {
    ByteBuffer start = bytes(source, what, MAGIC.length + 2, available);
    byte[] magic = new byte[MAGIC.length];
    start.get(magic);
    if (!Arrays.equals(magic, MAGIC)) {
      throw new IOException(what + ": not an npy file: it does not begin with \\x93NUMPY");
    }
    int version = start.get();
    if (version < 1 || version > 3) {
      throw new IOException(what + ": npy version " + version + " is not one of 1, 2 and 3");
    }
    int width = version == 1 ? 2 : 4;
    long before = MAGIC.length + 2 + width;
    ByteBuffer size = bytes(source, what, width, available - before + width);
    long length = width == 2 ? size.getShort() & 0xffff : size.getInt() & 0xffffffffL;
    if (length > Math.min(MAX_LENGTH, available - before)) {
      throw new IOException(
          what
              + ": npy header: length is "
              + length
              + ", expected at most "
              + Math.min(MAX_LENGTH, available - before));
    }
    ByteBuffer text = bytes(source, what, (int) length, available - before);
    return new Parser(what, text.array()).parse(before + length);
  }

  private static ByteBuffer bytes(Values.Source source, String what, int count, long available)
      throws IOException {
    if (available < count) {
      throw new IOException(what + ": not an npy file: it ends within its header");
    }
    ByteBuffer bytes = ByteBuffer.allocate(count).order(ByteOrder.LITTLE_ENDIAN);
    source.fill(bytes);
    return bytes.flip();
  }

  /** {@code {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }}. */
  private static final class Parser {
    private final String what;
    private final byte[] text;
    private int at;

    Parser(String what, byte[] text) {
      this.what = what;
      this.text = text;
    }

    NpyHeader parse(long length) throws IOException {
      String descr = null;
      Boolean columnMajor = null;
      Shape shape = null;
      expect('{');
      while (!skip('}')) {
        String key = string("a key");
        expect(':');
        switch (key) {
          case "descr" -> descr = string("descr");
          case "fortran_order" -> columnMajor = truth();
          case "shape" -> shape = shape();
          default -> throw error(SafetensorsHeader.quoted(key) + " is unknown");
        }
        if (!skip(',')) {
          expect('}');
          break;
        }
      }
      whitespace();
      if (at < text.length) {
        throw error("something follows its closing '}'");
      }
      if (descr == null || columnMajor == null || shape == null) {
        String missing = descr == null ? "descr" : columnMajor == null ? "fortran_order" : "shape";
        throw error(missing + " is missing");
      }
      ByteOrder order = descr.startsWith(">") ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
      return new NpyHeader(dtype(descr), order, columnMajor, shape, length);
    }

    private DType dtype(String descr) throws IOException {
      return switch (descr) {
        case "<f4", ">f4" -> DType.F32;
        case "<f8", ">f8" -> DType.F64;
        case "<f2", ">f2" -> DType.F16;
        case "<i8", ">i8" -> DType.I64;
        case "<V2", "|V2" -> DType.BF16;
        default ->
            throw error("descr " + SafetensorsHeader.quoted(descr) + " is not one of " + KNOWN);
      };
    }

    private String string(String field) throws IOException {
      whitespace();
      if (at == text.length || text[at] != '\'' && text[at] != '"') {
        throw error(field + ": expected a string at byte " + at + "; known types are " + KNOWN);
      }
      byte quote = text[at];
      int start = ++at;
      while (at < text.length && text[at] != quote) {
        at++;
      }
      if (at == text.length) {
        throw error(field + ": a string does not end");
      }
      at++;
      return new String(text, start, at - 1 - start, StandardCharsets.UTF_8);
    }

    private boolean truth() throws IOException {
      if (word("True")) {
        return true;
      }
      if (word("False")) {
        return false;
      }
      throw error("fortran_order: expected True or False at byte " + at);
    }

    private boolean word(String word) {
      whitespace();
      byte[] bytes = word.getBytes(StandardCharsets.US_ASCII);
      int end = at + bytes.length;
      if (end > text.length || !Arrays.equals(text, at, end, bytes, 0, bytes.length)) {
        return false;
      }
      at = end;
      return true;
    }

    private Shape shape() throws IOException {
      long[] dims = new long[MAX_RANK];
      int rank = 0;
      if (!skip('(')) {
        throw error("shape: expected '(' at byte " + at);
      }
      while (!skip(')')) {
        if (rank == MAX_RANK) {
          throw error("shape: more than " + MAX_RANK + " dimensions");
        }
        dims[rank++] = number();
        if (!skip(',')) {
          if (!skip(')')) {
            throw error("shape: expected ')' at byte " + at);
          }
          break;
        }
      }
      try {
        return Shape.of(Arrays.copyOf(dims, rank));
      } catch (IllegalArgumentException e) {
        throw error(e.getMessage());
      }
    }

    private long number() throws IOException {
      whitespace();
      int start = at;
      while (at < text.length && text[at] >= '0' && text[at] <= '9') {
        at++;
      }
      if (at == start) {
        throw error("shape: expected a whole number from 0 at byte " + start);
      }
      String digits = new String(text, start, Math.min(at - start, 20), StandardCharsets.US_ASCII);
      // Python 2 marked long integers.
      skip('L');
      try {
        return Long.parseLong(digits);
      } catch (NumberFormatException e) {
        throw error("shape: a number of " + (at - start) + " digits is too large");
      }
    }

    private void whitespace() {
      while (at < text.length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t')) {
        at++;
      }
    }

    private boolean skip(char c) {
      whitespace();
      if (at < text.length && text[at] == c) {
        at++;
        return true;
      }
      return false;
    }

    private void expect(char c) throws IOException {
      if (!skip(c)) {
        throw error("expected '" + c + "' at byte " + at);
      }
    }

    private IOException error(String problem) {
      return new IOException(what + ": npy header: " + problem);
    }
  }
}
