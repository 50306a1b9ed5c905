package org.batchnorm4j.tensor;

import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;
import java.util.concurrent.atomic.AtomicLong;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.backend.jni.NativeLibrary;
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
  private static final AtomicIntegerFieldUpdater<Memory> USERS =
      AtomicIntegerFieldUpdater.newUpdater(Memory.class, "users");

  private final Buffer elements;
  private final @Nullable Object array;
  private final long place;
  private final @Nullable Block block;
  private final @Nullable Lender lender;
  private final boolean counted;

  /** Whether to announce a use takes no more than a look at whether the memory is closed. */
  private final boolean simple;

  private volatile boolean exported;

  /** The number of calls under way, and {@link #CLOSED}. */
  private volatile int users;

  /** Whoever else may end the memory, and has to be asked before each use of it. */
  interface Lender {
    /**
     * Keeps the memory until {@link #release}.
     *
     * @throws IllegalStateException if it is gone
     */
    void acquire();

    void release();

    /** Whether the memory is gone. */
    boolean isClosed();

    /** Whether the calling thread alone may use the memory. */
    boolean isConfined();

    /** Whether native code may use the memory between the two, on the calling thread. */
    boolean isAddressable();
  }

  /** Of memory that nobody ends, where there is no native code. */
  private static final Lender NOT_FOR_NATIVE_CODE =
      new Lender() {
        @Override
        public void acquire() {}

        @Override
        public void release() {}

        @Override
        public boolean isClosed() {
          return false;
        }

        @Override
        public boolean isConfined() {
          return false;
        }

        @Override
        public boolean isAddressable() {
          return false;
        }
      };

  private Memory(
      Buffer elements,
      @Nullable Object array,
      long place,
      @Nullable Block block,
      @Nullable Lender lender,
      boolean counted) {
    this.elements = elements;
    this.array = array;
    this.place = place;
    this.block = block;
    this.lender = lender;
    this.counted = counted;
    simple = !counted && lender == null;
  }

  /** Zeroed, 64-byte aligned memory outside the Java heap. */
  static Memory allocate(DType dtype, long count) {
    long most = Integer.MAX_VALUE - 2 * ALIGNMENT;
    if (count > most / dtype.bytes()) {
      throw new IllegalArgumentException(
          "a tensor of "
              + count
              + " elements in "
              + dtype
              + " is more than the 2 GiB that one tensor may have; split it"
              + " along its first dimension");
    }
    long size = count * dtype.bytes();
    if (!NativeLibrary.isLoaded()) {
      // alignedSlice rounds both ends inwards.
      ByteBuffer raw = ByteBuffer.allocateDirect((int) (size + 2 * ALIGNMENT));
      return direct(typed(raw.alignedSlice((int) ALIGNMENT).slice(0, (int) size), dtype));
    }
    long allocated = Math.max(size, 1);
    long address = NativeHeap.SHARED.allocate(allocated);
    Block block = new Block(address, allocated);
    ByteBuffer bytes = BatchNormNative.bn_buffer(address, size);
    // Views of a direct buffer keep it reachable, so its own reachability is that of all of them.
    CLEANER.register(bytes, block);
    return new Memory(typed(bytes, dtype), null, address, block, null, size > UNCOUNTED_BYTES);
  }

  /** Memory outside the heap, from the first element of the buffer on. */
  static Memory direct(Buffer elements) {
    Lender arena = Segments.lender(elements);
    return NativeLibrary.isLoaded()
        ? wrap(elements, BatchNormNative.bn_address(elements), arena)
        : wrap(elements, Segments.address(elements), arena == null ? NOT_FOR_NATIVE_CODE : arena);
  }

  /** Memory of the caller's outside the heap: the elements, and where the first one lies. */
  static Memory wrap(Buffer elements, long address, @Nullable Lender lender) {
    return new Memory(elements, null, address, null, lender, false);
  }

  /** Memory of the caller's on the heap: the elements, and the bytes before the first one. */
  static Memory wrap(Buffer elements, Object array, long bytes) {
    return new Memory(elements, array, bytes, null, null, false);
  }

  /** Keeps the owner of its memory reachable as long as the buffer, or any view of it, is. */
  static ByteBuffer keeping(ByteBuffer direct, Object owner) {
    CLEANER.register(direct, () -> Reference.reachabilityFence(owner));
    return direct;
  }

  static Buffer typed(ByteBuffer bytes, DType dtype) {
    ByteBuffer ordered = bytes.order(ByteOrder.nativeOrder());
    return switch (dtype) {
      case F32 -> ordered.asFloatBuffer();
      case F64 -> ordered.asDoubleBuffer();
      case BF16, F16 -> ordered.asShortBuffer();
      case I64 -> ordered.asLongBuffer();
    };
  }

  /** The address of the first byte; 0 where native code cannot or must not go. */
  long address() {
    return array == null && (lender == null || lender.isAddressable()) ? place : 0;
  }

  /** {@link #address}, where that never changes; otherwise 0. */
  long fixedAddress() {
    return lender == null ? address() : 0;
  }

  /** The array the elements lie in, or null where they are not on the heap. */
  @Nullable Object array() {
    return array;
  }

  /**
   * Bytes from the beginning of the array to the first element, or from address 0; 0 if unknown.
   */
  long place() {
    return place;
  }

  /** Whether the two lie in one array, or both at known addresses: places can be compared. */
  boolean isComparable(Memory other) {
    return array == other.array && (array != null || place != 0 && other.place != 0);
  }

  /**
   * The elements, in a buffer of their type. For use between acquire and release.
   *
   * @throws IllegalStateException if the memory is gone
   */
  Buffer elements() {
    if (counted ? users == CLOSED : lender != null && lender.isClosed()) {
      throw closed();
    }
    return elements;
  }

  boolean isReadOnly() {
    return elements.isReadOnly();
  }

  /** The elements, for someone who may keep them: from now on reachability decides. */
  Buffer export() {
    acquire();
    exported = true;
    release();
    return elements;
  }

  boolean isClosed() {
    return users < 0 || lender != null && lender.isClosed();
  }

  /** Whether the calling thread alone may use it. */
  boolean isConfined() {
    return lender != null && lender.isConfined();
  }

  /** Throws what {@link #acquire} would, and announces nothing. */
  void checkUsable() {
    if (users < 0) {
      throw closed();
    }
    if (lender != null) {
      lender.acquire();
      lender.release();
    }
  }

  /** Announces a use. Whoever calls this calls {@link #release} in the end. */
  void acquire() {
    if (!counted) {
      if (users < 0) {
        throw closed();
      }
      if (lender != null) {
        lender.acquire();
      }
      return;
    }
    int seen;
    do {
      seen = users;
      if (seen < 0) {
        throw closed();
      }
    } while (!USERS.compareAndSet(this, seen, seen + 1));
  }

  void release() {
    if (simple) {
      return;
    }
    if (lender != null) {
      lender.release();
      return;
    }
    int seen;
    do {
      seen = users;
      if ((seen & ~CLOSED) == 0) {
        throw new IllegalStateException("release without acquire");
      }
    } while (!USERS.compareAndSet(this, seen, seen - 1));
    if (seen - 1 == CLOSED) {
      free();
    }
  }

  void close() {
    int before = USERS.getAndUpdate(this, seen -> seen | CLOSED);
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
    private final long size;

    Block(long address, long size) {
      this.address = new AtomicLong(address);
      this.size = size;
    }

    @Override
    public void run() {
      long a = address.getAndSet(0);
      if (a != 0) {
        NativeHeap.SHARED.free(a, size);
      }
    }
  }
}
