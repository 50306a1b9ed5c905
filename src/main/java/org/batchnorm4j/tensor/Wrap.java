package org.batchnorm4j.tensor;

import java.math.BigInteger;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.ShortPointer;

/** Makes {@link Memory} of what callers hold, after checking it. Copies nothing. */
final class Wrap {
  private Wrap() {}

  static Memory buffer(Buffer buffer, DType dtype, Shape shape) {
    String name = name(buffer);
    int unit = unit(buffer, dtype);
    checkOrder(name, order(buffer));
    checkSize(name, (long) buffer.remaining() * unit, dtype, shape);
    Buffer view = view(buffer);
    Buffer elements = view instanceof ByteBuffer bytes ? Memory.typed(bytes, dtype) : view;
    if (!buffer.isDirect()) {
      if (!buffer.hasArray()) {
        throw new IllegalArgumentException(
            "the "
                + name
                + " is on the heap, but its array cannot be reached: it is read-only, or a view of"
                + " a ByteBuffer. Wrap a direct buffer, the array or the ByteBuffer");
      }
      return Memory.wrap(
          elements, buffer.array(), ((long) buffer.arrayOffset() + buffer.position()) * unit);
    }
    // At any address: a slice of a network buffer begins where it does.
    return Memory.direct(elements);
  }

  static Memory pointer(Pointer pointer, DType dtype, Shape shape) {
    String name = pointer.getClass().getSimpleName();
    boolean fits =
        switch (dtype) {
          case F32 -> pointer instanceof FloatPointer;
          case F64 -> pointer instanceof DoublePointer;
          case BF16, F16 -> pointer instanceof ShortPointer;
          case I64 -> false;
        };
    if (!fits && !(pointer instanceof BytePointer && dtype != DType.I64)) {
      throw wrongType(name, dtype);
    }
    if (pointer.isNull()) {
      throw new IllegalArgumentException("the " + name + " is null");
    }
    long bytes = (pointer.limit() - pointer.position()) * pointer.sizeof();
    checkSize(name, bytes, dtype, shape);
    checkBuffer(name, bytes);
    long address = pointer.address() + pointer.position() * pointer.sizeof();
    checkAligned(name, address, dtype);
    // JavaCPP's buffer does not keep the pointer, and it may outlive the tensor (asFloatBuffer).
    ByteBuffer buffer = Memory.keeping(pointer.asByteBuffer(), pointer);
    return Memory.wrap(Memory.typed(buffer, dtype), address, new Lent(pointer));
  }

  /**
   * A pointer's memory, which its owner may give back. JavaCPP's count of references cannot keep it
   * longer: whoever made the pointer need not have one.
   */
  private record Lent(Pointer pointer) implements Memory.Lender {
    @Override
    public void acquire() {
      if (isClosed()) {
        throw new IllegalStateException("the " + name() + " that the tensor wraps is closed");
      }
    }

    @Override
    public void release() {}

    @Override
    public boolean isClosed() {
      return pointer.isNull();
    }

    @Override
    public boolean isConfined() {
      return false;
    }

    @Override
    public boolean isAddressable() {
      return true;
    }

    private String name() {
      return pointer.getClass().getSimpleName();
    }
  }

  // ---------------------------------------------------------------------------------------- checks

  static void checkSize(String name, long bytes, DType dtype, Shape shape) {
    BigInteger needed =
        BigInteger.valueOf(shape.size()).multiply(BigInteger.valueOf(dtype.bytes()));
    if (!needed.equals(BigInteger.valueOf(bytes))) {
      throw new IllegalArgumentException(
          "the "
              + name
              + " has "
              + bytes
              + " bytes, shape "
              + shape
              + " in "
              + dtype
              + " needs "
              + needed);
    }
  }

  /** Whether one buffer can be a view of so many bytes. */
  static void checkBuffer(String name, long bytes) {
    if (bytes > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "the "
              + name
              + " has "
              + bytes
              + " bytes, more than the 2 GiB that one tensor may have outside the heap; make"
              + " tensors of its parts");
    }
  }

  static void checkAligned(String name, long address, DType dtype) {
    if (address % dtype.bytes() != 0) {
      throw new IllegalArgumentException(
          "the "
              + name
              + " begins at address "
              + address
              + ", expected a multiple of the "
              + dtype.bytes()
              + " bytes of "
              + dtype
              + "; copy the data to where they do");
    }
  }

  private static void checkOrder(String name, ByteOrder order) {
    if (order != ByteOrder.nativeOrder()) {
      throw new IllegalArgumentException(
          "the "
              + name
              + " is "
              + order
              + ", expected "
              + ByteOrder.nativeOrder()
              + ": call order(ByteOrder.nativeOrder()) on the ByteBuffer"
              + (name.equals("ByteBuffer") ? "" : " it was made from"));
    }
  }

  // --------------------------------------------------------------------------------- kinds of
  // buffer

  private static String name(Buffer buffer) {
    return buffer instanceof FloatBuffer
        ? "FloatBuffer"
        : buffer instanceof DoubleBuffer
            ? "DoubleBuffer"
            : buffer instanceof ShortBuffer
                ? "ShortBuffer"
                : buffer instanceof ByteBuffer ? "ByteBuffer" : buffer.getClass().getSimpleName();
  }

  /** Bytes of what the buffer counts. */
  private static int unit(Buffer buffer, DType dtype) {
    boolean fits =
        switch (dtype) {
          case F32 -> buffer instanceof FloatBuffer;
          case F64 -> buffer instanceof DoubleBuffer;
          case BF16, F16 -> buffer instanceof ShortBuffer;
          case I64 -> false;
        };
    if (fits) {
      return dtype.bytes();
    }
    if (buffer instanceof ByteBuffer && dtype != DType.I64) {
      return 1;
    }
    throw wrongType(name(buffer), dtype);
  }

  private static IllegalArgumentException wrongType(String name, DType dtype) {
    String element =
        switch (dtype) {
          case F32 -> "Float";
          case F64 -> "Double";
          case BF16, F16 -> "Short";
          case I64 ->
              throw new IllegalArgumentException(
                  "dtype must be F32, F64, BF16 or F16, but is I64: tensors of counters wrap nothing");
        };
    String kind = name.endsWith("Pointer") ? "Pointer" : "Buffer";
    return new IllegalArgumentException(
        "expected a "
            + element
            + kind
            + " or Byte"
            + kind
            + " for "
            + dtype
            + ", but got a "
            + name);
  }

  private static ByteOrder order(Buffer buffer) {
    if (buffer instanceof FloatBuffer b) {
      return b.order();
    }
    if (buffer instanceof DoubleBuffer b) {
      return b.order();
    }
    return buffer instanceof ShortBuffer b ? b.order() : ((ByteBuffer) buffer).order();
  }

  /** Position to limit, as a buffer of its own in the same order. */
  private static Buffer view(Buffer buffer) {
    Buffer slice = buffer.slice();
    return slice instanceof ByteBuffer bytes ? bytes.order(ByteOrder.nativeOrder()) : slice;
  }
}
