package org.batchnorm4j.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;

/** MemorySegments as {@link Memory}, on JDK 22 and later. */
final class Segments {
  /** Never started: what it may access, any thread may. */
  private static final Thread ANOTHER = new Thread(() -> {}, "batchnorm4j-another");

  private Segments() {}

  static Memory memory(Object object, DType dtype, Shape shape) {
    if (!(object instanceof MemorySegment segment)) {
      throw new IllegalArgumentException(
          "expected a MemorySegment, but got a " + object.getClass().getName());
    }
    Wrap.checkSize("MemorySegment", segment.byteSize(), dtype, shape);
    Object array = segment.heapBase().orElse(null);
    if (array != null) {
      Wrap.checkAligned("MemorySegment", segment.address(), dtype);
      return Wrap.buffer(onArray(array, segment), dtype, shape);
    }
    if (!segment.isNative()) {
      throw new IllegalArgumentException(
          "the MemorySegment is on the heap and read-only; wrap a native one, or the array");
    }
    Wrap.checkAligned("MemorySegment", segment.address(), dtype);
    Wrap.checkBuffer("MemorySegment", segment.byteSize());
    Buffer elements = Memory.typed(segment.asByteBuffer(), dtype);
    return Memory.wrap(elements, segment.address(), new Lent(segment));
  }

  /** Who may end a direct buffer's memory: the arena it came from; null if from none. */
  static Memory.Lender lender(Buffer direct) {
    MemorySegment segment = MemorySegment.ofBuffer(direct);
    // Only the views of an arena's buffer have one scope; of others each has its own.
    boolean ofArena = segment.scope().equals(MemorySegment.ofBuffer(direct.duplicate()).scope());
    return ofArena ? new Lent(segment) : null;
  }

  /** Where a direct buffer's first element lies. */
  static long address(Buffer direct) {
    return MemorySegment.ofBuffer(direct).address();
  }

  /** The part of the array, as the buffer of its type. */
  private static Buffer onArray(Object array, MemorySegment segment) {
    int from = (int) segment.address();
    int bytes = (int) segment.byteSize();
    if (array instanceof float[] a) {
      return FloatBuffer.wrap(a, from / Float.BYTES, bytes / Float.BYTES);
    }
    if (array instanceof double[] a) {
      return DoubleBuffer.wrap(a, from / Double.BYTES, bytes / Double.BYTES);
    }
    if (array instanceof short[] a) {
      return ShortBuffer.wrap(a, from / Short.BYTES, bytes / Short.BYTES);
    }
    if (array instanceof byte[] a) {
      return ByteBuffer.wrap(a, from, bytes).order(ByteOrder.nativeOrder());
    }
    throw new IllegalArgumentException(
        "the MemorySegment is on a "
            + array.getClass().getSimpleName()
            + ", expected a float[], double[], short[] or byte[]");
  }

  /** A segment's memory, which ends with its arena. */
  private record Lent(MemorySegment segment) implements Memory.Lender {
    @Override
    public void acquire() {
      if (isClosed()) {
        throw new IllegalStateException("the arena of the MemorySegment is closed");
      }
      if (!segment.isAccessibleBy(Thread.currentThread())) {
        throw new IllegalStateException(
            "the MemorySegment is confined to another thread than " + Thread.currentThread());
      }
    }

    @Override
    public void release() {}

    @Override
    public boolean isClosed() {
      return !segment.scope().isAlive();
    }

    @Override
    public boolean isConfined() {
      return segment.isAccessibleBy(Thread.currentThread()) && !segment.isAccessibleBy(ANOTHER);
    }

    /** Only where nobody else can close the arena meanwhile. */
    @Override
    public boolean isAddressable() {
      return segment.scope().equals(Arena.global().scope()) || isConfined();
    }
  }
}
