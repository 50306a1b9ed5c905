package org.batchnorm4j.tensor;

import java.util.concurrent.atomic.AtomicLong;
import org.batchnorm4j.backend.jni.BatchNormNative;

/**
 * Memory from the native library, and how much of it there is. The garbage collector does not see
 * it: a tensor of a gigabyte is a hundred bytes to it, so tensors that nobody closes would fill the
 * machine before it ever runs. It is asked to, as for direct buffers, when there is more than a
 * limit, and when there is no memory left. What is then still in use raises the limit to twice of
 * it, so memory that is needed costs a few collections, not one for each tensor.
 *
 * <p>Thread-safe.
 */
final class NativeHeap {
  /** Of the process: as much as the Java heap may grow to asks for no collection. */
  static final NativeHeap SHARED = new NativeHeap(Runtime.getRuntime().maxMemory());

  /** Milliseconds; what a collection has found is given back by another thread. */
  private static final int LONGEST_WAIT = 64;

  private final long least;
  private final AtomicLong limit;
  private final AtomicLong bytes = new AtomicLong();

  /**
   * @param least bytes up to which no collection is asked for
   */
  NativeHeap(long least) {
    this.least = least;
    limit = new AtomicLong(least);
  }

  /** Bytes that are allocated now. */
  long bytes() {
    return bytes.get();
  }

  /**
   * The address of zeroed memory, a multiple of 64.
   *
   * @throws OutOfMemoryError if there is none, after a collection either
   */
  long allocate(long size) {
    if (exceedsLimit(size)) {
      synchronized (this) {
        // Not once for each of those who waited.
        if (exceedsLimit(size)) {
          collect(size);
        }
      }
    }
    long address = BatchNormNative.bn_alloc(size);
    if (address == 0) {
      collect(size);
      address = BatchNormNative.bn_alloc(size);
    }
    if (address == 0) {
      throw new OutOfMemoryError("no memory for a tensor of " + size + " bytes");
    }
    bytes.addAndGet(size);
    return address;
  }

  void free(long address, long size) {
    BatchNormNative.bn_free(address);
    bytes.addAndGet(-size);
  }

  private boolean exceedsLimit(long more) {
    return bytes.get() + more > limit.get();
  }

  private synchronized void collect(long size) {
    System.gc();
    boolean interrupted = false;
    for (int wait = 1; wait <= LONGEST_WAIT && exceedsLimit(size); wait *= 2) {
      try {
        Thread.sleep(wait);
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    limit.set(Math.max(least, 2 * (bytes.get() + size)));
  }
}
