package org.batchnorm4j.tensor;

import java.lang.ref.Cleaner;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.jspecify.annotations.Nullable;

/**
 * The bytes behind one or more tensors, and when they are given back.
 *
 * <p>Memory we allocate is freed when its tensor is closed, unless a call is using it (the last
 * such call frees it) or a buffer on it was handed out (then, as without close, when nothing can
 * reach it any more). So closing can never pull memory from under native code, whatever other
 * threads do. Blocks up to {@link #UNCOUNTED_BYTES} are always left to reachability: counting their
 * users would cost more than the calls they are used in.
 */
final class Memory {
  private static final long ALIGNMENT = 64;
  private static final long UNCOUNTED_BYTES = 4096;
  private static final int CLOSED = Integer.MIN_VALUE;
  private static final Cleaner CLEANER = Cleaner.create();

  private final Buffer elements;
  private final long address;
  private final @Nullable Block block;
  private final boolean counted;
  private volatile boolean exported;

  /** The number of calls under way, and {@link #CLOSED}. */
  private final AtomicInteger users = new AtomicInteger();

  private Memory(Buffer elements, long address, @Nullable Block block, boolean counted) {
    this.elements = elements;
    this.address = address;
    this.block = block;
    this.counted = counted;
  }

  /** Zeroed, 64-byte aligned memory outside the Java heap. */
  static Memory allocate(DType dtype, long count) {
    long size = Math.multiplyExact(count, dtype.bytes());
    if (size > Integer.MAX_VALUE - 2 * ALIGNMENT) {
      throw new IllegalArgumentException(
          "a tensor of "
              + size
              + " bytes is more than the 2 GiB that one tensor may have; split it"
              + " along its first dimension");
    }
    if (!NativeLibrary.isLoaded()) {
      // alignedSlice rounds both ends inwards.
      ByteBuffer raw = ByteBuffer.allocateDirect((int) (size + 2 * ALIGNMENT));
      ByteBuffer aligned = raw.alignedSlice((int) ALIGNMENT).slice(0, (int) size);
      return new Memory(typed(aligned, dtype), 0, null, false);
    }
    long address = BatchNormNative.bn_alloc(Math.max(size, 1));
    if (address == 0) {
      throw new OutOfMemoryError("no memory for a tensor of " + size + " bytes");
    }
    Block block = new Block(address);
    ByteBuffer bytes = new Window(address, size).asByteBuffer();
    // Views of a direct buffer keep it reachable, so its own reachability is that of all of them.
    CLEANER.register(bytes, block);
    return new Memory(typed(bytes, dtype), address, block, size > UNCOUNTED_BYTES);
  }

  /** A view on memory of the caller's: a direct buffer in native order, from position to limit. */
  static Memory wrap(Buffer direct) {
    Buffer elements = direct.slice();
    long address = 0;
    if (NativeLibrary.isLoaded()) {
      address = new Pointer(elements).address();
    }
    return new Memory(elements, address, null, false);
  }

  private static Buffer typed(ByteBuffer bytes, DType dtype) {
    ByteBuffer ordered = bytes.order(ByteOrder.nativeOrder());
    return switch (dtype) {
      case F32 -> ordered.asFloatBuffer();
      case F64 -> ordered.asDoubleBuffer();
      case BF16, F16 -> ordered.asShortBuffer();
      case I64 -> ordered.asLongBuffer();
    };
  }

  /** The address of the first byte; 0 where the native library is not loaded. */
  long address() {
    return address;
  }

  /** The elements, in a buffer of their type. For use between acquire and release. */
  Buffer elements() {
    return elements;
  }

  /** The elements, for someone who may keep them: from now on reachability decides. */
  Buffer export() {
    acquire();
    exported = true;
    release();
    return elements;
  }

  boolean isClosed() {
    return users.get() < 0;
  }

  /** Announces a use. Whoever calls this calls {@link #release} in the end. */
  void acquire() {
    if (!counted) {
      if (isClosed()) {
        throw closed();
      }
      return;
    }
    int seen;
    do {
      seen = users.get();
      if (seen < 0) {
        throw closed();
      }
    } while (!users.compareAndSet(seen, seen + 1));
  }

  void release() {
    if (counted && users.decrementAndGet() == CLOSED) {
      free();
    }
  }

  void close() {
    int before = users.getAndUpdate(seen -> seen | CLOSED);
    if (before == 0 && counted) {
      free();
    }
  }

  private void free() {
    if (block != null && !exported) {
      block.run();
    }
  }

  private static IllegalStateException closed() {
    return new IllegalStateException("the tensor is closed");
  }

  /** One allocation, freed once. Must not refer to the buffer whose reachability it watches. */
  private static final class Block implements Runnable {
    private final AtomicLong address;

    Block(long address) {
      this.address = new AtomicLong(address);
    }

    @Override
    public void run() {
      long a = address.getAndSet(0);
      if (a != 0) {
        BatchNormNative.bn_free(a);
      }
    }
  }

  /** Gives JavaCPP an address it does not own. */
  private static final class Window extends BytePointer {
    Window(long address, long size) {
      super((Pointer) null);
      this.address = address;
      this.limit = size;
      this.capacity = size;
    }
  }
}
