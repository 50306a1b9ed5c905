package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.jspecify.annotations.Nullable;

/**
 * The JSON at the head of a safetensors file. It parses exactly what the format allows there and
 * nothing of JSON besides, so a hostile header can neither nest deeply nor make big trees.
 */
final class SafetensorsHeader {
  private static final String METADATA = "__metadata__";
  private static final int MAX_RANK = 64;

  private final String file;
  private final byte[] json;
  private int at;

  private SafetensorsHeader(String file, byte[] json) {
    this.file = file;
    this.json = json;
  }

  /** A tensor and where its bytes lie, counted from the end of the header. */
  record Entry(String name, DType dtype, Shape shape, long begin, long end) {}

  // ------------------------------------------------------------------------------------- writing

  /** The JSON of these entries. */
  static byte[] format(List<Entry> entries) {
    StringBuilder out = new StringBuilder("{\"" + METADATA + "\":{\"format\":\"pt\"}");
    for (Entry e : entries) {
      if (e.name.equals(METADATA)) {
        throw new IllegalArgumentException(
            "a tensor cannot be named " + METADATA + ": safetensors keeps that name for itself");
      }
      out.append(',');
      appendQuoted(out, e.name);
      out.append(":{\"dtype\":\"").append(e.dtype);
      out.append("\",\"shape\":").append(e.shape.toString().replace(" ", ""));
      out.append(",\"data_offsets\":[").append(e.begin).append(',').append(e.end).append("]}");
    }
    try {
      ByteBuffer utf8 =
          StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(out.append('}')));
      return Arrays.copyOf(utf8.array(), utf8.limit());
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException("a tensor's name has half of a surrogate pair", e);
    }
  }

  private static void appendQuoted(StringBuilder out, String text) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c < ' ') {
        out.append(String.format("\\u%04x", (int) c));
      } else if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else {
        out.append(c);
      }
    }
    out.append('"');
  }

  // ------------------------------------------------------------------------------------- reading

  /**
   * The entries in the header's order.
   *
   * @param file named in errors
   */
  static List<Entry> parse(String file, byte[] json) throws IOException {
    return new SafetensorsHeader(file, json).parse();
  }

  private List<Entry> parse() throws IOException {
    if (json.length == 0 || json[0] != '{') {
      throw error("expected '{' as its first byte");
    }
    at++;
    List<Entry> entries = new ArrayList<>();
    Set<String> seen = new HashSet<>();
    if (!skip('}')) {
      do {
        String name = string();
        if (!seen.add(name)) {
          throw error(quoted(name) + " comes twice");
        }
        expect(':');
        if (name.equals(METADATA)) {
          metadata();
        } else {
          entries.add(entry(name));
        }
      } while (skip(','));
      expect('}');
    }
    whitespace();
    if (at < json.length) {
      throw error("something follows its closing '}'");
    }
    return entries;
  }

  /** Checked and dropped: nothing here needs it. */
  private void metadata() throws IOException {
    expect('{');
    if (!skip('}')) {
      do {
        string();
        expect(':');
        string();
      } while (skip(','));
      expect('}');
    }
  }

  private Entry entry(String name) throws IOException {
    DType dtype = null;
    long[] shape = null;
    long[] offsets = null;
    expect('{');
    do {
      String field = string();
      expect(':');
      switch (field) {
        case "dtype" -> dtype = dtype(name, once(name, field, dtype));
        case "shape" -> shape = numbers(name, once(name, field, shape));
        case "data_offsets" -> offsets = numbers(name, once(name, field, offsets));
        default ->
            throw tensorError(name, field + ": unknown; known are dtype, shape and data_offsets");
      }
    } while (skip(','));
    expect('}');
    if (dtype == null || shape == null || offsets == null) {
      String missing = dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets";
      throw tensorError(name, missing + " is missing");
    }
    if (offsets.length != 2 || offsets[0] > offsets[1]) {
      throw tensorError(
          name, "data_offsets: expected [begin, end], but got " + Arrays.toString(offsets));
    }
    try {
      return new Entry(name, dtype, Shape.of(shape), offsets[0], offsets[1]);
    } catch (IllegalArgumentException e) {
      throw tensorError(name, e.getMessage());
    }
  }

  private String once(String name, String field, @Nullable Object value) throws IOException {
    if (value != null) {
      throw tensorError(name, field + " comes twice");
    }
    return field;
  }

  private DType dtype(String name, String field) throws IOException {
    String text = string();
    for (DType d : DType.values()) {
      if (d.name().equals(text)) {
        return d;
      }
    }
    throw tensorError(
        name, field + " " + quoted(text) + " is not one of " + Arrays.toString(DType.values()));
  }

  private long[] numbers(String name, String field) throws IOException {
    long[] values = new long[MAX_RANK];
    int count = 0;
    expect('[');
    if (!skip(']')) {
      do {
        if (count == MAX_RANK) {
          throw tensorError(name, field + ": more than " + MAX_RANK + " numbers");
        }
        values[count++] = number(name, field);
      } while (skip(','));
      expect(']');
    }
    return Arrays.copyOf(values, count);
  }

  private long number(String name, String field) throws IOException {
    whitespace();
    int start = at;
    while (at < json.length && json[at] >= '0' && json[at] <= '9') {
      at++;
    }
    int digits = at - start;
    if (digits == 0 || digits > 1 && json[start] == '0') {
      throw tensorError(name, field + ": expected a whole number from 0 at byte " + start);
    }
    try {
      // One digit more than the largest long has is enough to see that it is none.
      return Long.parseLong(
          new String(json, start, Math.min(digits, 20), StandardCharsets.US_ASCII));
    } catch (NumberFormatException e) {
      throw tensorError(name, field + ": a number of " + digits + " digits is too large");
    }
  }

  private String string() throws IOException {
    expect('"');
    int start = at;
    boolean escaped = false;
    while (at < json.length && json[at] != '"') {
      if (json[at] >= 0 && json[at] < ' ') {
        throw error("a control character in a string");
      }
      escaped |= json[at] == '\\';
      at += json[at] == '\\' ? 2 : 1;
    }
    if (at >= json.length) {
      at = json.length;
      throw error("a string does not end");
    }
    String text;
    try {
      ByteBuffer utf8 = ByteBuffer.wrap(json, start, at - start);
      text = StandardCharsets.UTF_8.newDecoder().decode(utf8).toString();
    } catch (CharacterCodingException e) {
      throw error("a string is not UTF-8");
    }
    at++;
    return escaped ? unescape(text) : text;
  }

  private String unescape(String text) throws IOException {
    StringBuilder out = new StringBuilder(text.length());
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c != '\\') {
        out.append(c);
        continue;
      }
      c = text.charAt(++i);
      switch (c) {
        case '"', '\\', '/' -> out.append(c);
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case 'n' -> out.append('\n');
        case 'r' -> out.append('\r');
        case 't' -> out.append('\t');
        case 'u' -> {
          if (i + 4 >= text.length() || !text.substring(i + 1, i + 5).matches("[0-9a-fA-F]{4}")) {
            throw error("\\u needs four hexadecimal digits");
          }
          out.append((char) Integer.parseInt(text.substring(i + 1, i + 5), 16));
          i += 4;
        }
        default -> throw error("unknown escape \\" + c);
      }
    }
    return out.toString();
  }

  private void whitespace() {
    while (at < json.length
        && (json[at] == ' ' || json[at] == '\n' || json[at] == '\r' || json[at] == '\t')) {
      at++;
    }
  }

  private boolean skip(char c) {
    whitespace();
    if (at < json.length && json[at] == c) {
      at++;
      return true;
    }
    return false;
  }

  private void expect(char c) throws IOException {
    if (!skip(c)) {
      throw error("expected '" + c + "'");
    }
  }

  private IOException error(String what) {
    return new IOException(file + ": not a safetensors file: header, byte " + at + ": " + what);
  }

  private IOException tensorError(String name, String what) {
    return new IOException(file + ": tensor " + quoted(name) + ": " + what);
  }

  /** A text of the file's in an error message, of bounded length. */
  static String quoted(String text) {
    return '"' + (text.length() <= 200 ? text : text.substring(0, 200) + "...") + '"';
  }
}
