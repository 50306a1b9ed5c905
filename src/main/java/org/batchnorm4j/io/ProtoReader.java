package org.batchnorm4j.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.CharBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Messages of protocol buffers in a file: the wire format, without a schema. What is not asked for
 * is skipped, not read; every length is checked against the message it lies in.
 */
final class ProtoReader {
  private static final int WINDOW = 1 << 13;
  private static final int MAX_STRING = 1 << 16;

  static final int VARINT = 0;
  static final int FIXED64 = 1;
  static final int BYTES = 2;
  static final int FIXED32 = 5;

  private final Path file;
  private final FileChannel channel;
  private final long size;

  /** The bytes of the file from {@link #start} on. */
  private final ByteBuffer window = ByteBuffer.allocate(WINDOW).order(ByteOrder.LITTLE_ENDIAN);

  private long start;

  ProtoReader(Path file, FileChannel channel) throws IOException {
    this.file = file;
    this.channel = channel;
    size = channel.size();
    window.limit(0);
  }

  /** The whole file, a message. */
  Field whole() {
    return new Field("file", 0, BYTES, 0, 0, size);
  }

  /** Takes the fields of a message one by one. */
  interface Visitor {
    void visit(Field field) throws IOException;
  }

  /**
   * A field of a message.
   *
   * @param in what the message is, for errors
   * @param number the field's number
   * @param type one of the wire types above
   * @param value of a number, its bits; otherwise 0
   * @param begin where the bytes of a string or message begin in the file
   * @param end where they end
   */
  record Field(String in, int number, int type, long value, long begin, long end) {
    long length() {
      return end - begin;
    }
  }

  /** An error in the file. */
  IOException error(String where, String problem) {
    return new IOException(file + ": " + where + ": " + problem);
  }

  /**
   * Visits the fields of the message that {@code message} is.
   *
   * @param name what it is, for errors
   */
  void visit(Field message, String name, Visitor visitor) throws IOException {
    long at = bytes(message).begin;
    while (at < message.end) {
      Varint tag = varint(at, message.end, name);
      at = tag.next;
      long number = tag.value >>> 3;
      int type = (int) tag.value & 7;
      if (number == 0 || number >= 1 << 29) {
        throw error(name, "a field has the number " + Long.toUnsignedString(number));
      }
      long value = 0;
      long begin = at;
      switch (type) {
        case VARINT -> {
          Varint v = varint(at, message.end, name);
          value = v.value;
          at = v.next;
        }
        case FIXED64, FIXED32 -> {
          int width = type == FIXED64 ? 8 : 4;
          if (message.end - at < width) {
            throw error(name, "ends within field " + number);
          }
          value = type == FIXED64 ? getLong(at) : getInt(at);
          at += width;
        }
        case BYTES -> {
          Varint length = varint(at, message.end, name);
          begin = length.next;
          if (length.value < 0 || length.value > message.end - begin) {
            throw error(
                name,
                "field "
                    + number
                    + " has "
                    + Long.toUnsignedString(length.value)
                    + " bytes, but only "
                    + (message.end - begin)
                    + " are left");
          }
          at = begin + length.value;
        }
        default -> throw error(name, "field " + number + " has the unknown wire type " + type);
      }
      visitor.visit(new Field(name, (int) number, type, value, begin, at));
    }
  }

  private record Varint(long value, long next) {}

  private Varint varint(long from, long end, String name) throws IOException {
    long value = 0;
    long at = from;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= end) {
        throw error(name, "ends within a number");
      }
      int b = getByte(at++);
      value |= (long) (b & 0x7f) << shift;
      if (b >= 0) {
        return new Varint(value, at);
      }
    }
    throw error(name, "a number has more than 64 bits");
  }

  private void expect(Field field, int type) throws IOException {
    if (field.type != type) {
      throw error(
          field.in,
          "field " + field.number + " has wire type " + field.type + ", expected " + type);
    }
  }

  /** The field itself, whose bytes are wanted. */
  Field bytes(Field field) throws IOException {
    expect(field, BYTES);
    return field;
  }

  /** A whole number. */
  long number(Field field) throws IOException {
    expect(field, VARINT);
    return field.value;
  }

  /** A float, widened. */
  float floatValue(Field field) throws IOException {
    expect(field, FIXED32);
    return Float.intBitsToFloat((int) field.value);
  }

  /** A text. */
  String string(Field field) throws IOException {
    if (bytes(field).length() > MAX_STRING) {
      throw error(
          field.in, "the name in field " + field.number + " has " + field.length() + " bytes");
    }
    byte[] bytes = new byte[(int) field.length()];
    WholeFile.readFully(file, channel, ByteBuffer.wrap(bytes), field.begin);
    try {
      CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
      return text.toString();
    } catch (CharacterCodingException e) {
      throw error(field.in, "the name in field " + field.number + " is not UTF-8");
    }
  }

  /** A repeated number: one, or, packed, many. */
  interface Numbers {
    void take(long value) throws IOException;
  }

  /**
   * Hands on the number or numbers of a repeated field.
   *
   * @param type what one of them is
   */
  void numbers(Field field, int type, Numbers numbers) throws IOException {
    if (field.type != BYTES) {
      expect(field, type);
      numbers.take(field.value);
      return;
    }
    int width = type == FIXED64 ? 8 : 4;
    if (type != VARINT && field.length() % width != 0) {
      throw error(
          field.in,
          "field "
              + field.number
              + " has "
              + field.length()
              + " bytes, not a multiple of "
              + width);
    }
    long at = field.begin;
    while (at < field.end) {
      if (type == VARINT) {
        Varint v = varint(at, field.end, field.in);
        numbers.take(v.value);
        at = v.next;
      } else {
        numbers.take(type == FIXED64 ? getLong(at) : getInt(at));
        at += width;
      }
    }
  }

  // The file's bytes, little-endian; the caller has checked that they are there.

  byte getByte(long at) throws IOException {
    return window.get(seek(at, 1));
  }

  short getShort(long at) throws IOException {
    return window.getShort(seek(at, 2));
  }

  int getInt(long at) throws IOException {
    return window.getInt(seek(at, 4));
  }

  long getLong(long at) throws IOException {
    return window.getLong(seek(at, 8));
  }

  /** Moves the window if need be, and says where in it the bytes are. */
  private int seek(long at, int width) throws IOException {
    if (at < start || at + width > start + window.limit()) {
      window.clear().limit((int) Math.min(WINDOW, size - at));
      start = at;
      WholeFile.readFully(file, channel, window, at);
    }
    return (int) (at - start);
  }
}
