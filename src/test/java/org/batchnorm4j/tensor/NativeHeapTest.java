package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.jni.NativeLibrary;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Memory that nobody closes is collected in time; memory in use costs few collections. */
class NativeHeapTest {
  private static final int MEGABYTE = 1 << 20;

  private final Cleaner cleaner = Cleaner.create();
  private final NativeHeap heap = new NativeHeap(16 * MEGABYTE);

  @BeforeEach
  void needsNatives() {
    assumeTrue(NativeLibrary.isLoaded(), "without the native library tensors are direct buffers");
  }

  /** A megabyte that is freed when nobody has the object any more. */
  private Object unclosed() {
    Object owner = new Object();
    long address = heap.allocate(MEGABYTE);
    cleaner.register(owner, () -> heap.free(address, MEGABYTE));
    return owner;
  }

  private static long collections() {
    return ManagementFactory.getGarbageCollectorMXBeans().stream()
        .mapToLong(GarbageCollectorMXBean::getCollectionCount)
        .sum();
  }

  @Test
  void whatNobodyClosesIsCollected() {
    long most = 0;
    for (int i = 0; i < 400; i++) {
      unclosed();
      most = Math.max(most, heap.bytes());
    }
    // A collection that was slow to give back may have raised the limit.
    assertTrue(most <= 100 * MEGABYTE, most + " bytes");
  }

  @Test
  void whatIsInUseCostsFewCollections() {
    long before = collections();
    List<Object> used = new ArrayList<>();
    for (int i = 0; i < 400; i++) {
      used.add(unclosed());
    }
    assertEquals(400L * MEGABYTE, heap.bytes());
    long count = collections() - before;
    // At 16, 34, 70, 142 and 286 megabytes, in which a collector may count two; others may run too.
    assertTrue(count >= 1 && count <= 40, count + " collections");
    Reference.reachabilityFence(used);
  }

  @Test
  void tensorsCountUntilTheyAreClosed() {
    long before = NativeHeap.SHARED.bytes();
    try (Tensor t = Tensor.zeros(64 * MEGABYTE)) {
      // Meanwhile the collector may give back what other tests left.
      assertTrue(NativeHeap.SHARED.bytes() >= t.extent());
    }
    assertTrue(NativeHeap.SHARED.bytes() <= before + MEGABYTE);
  }

  @Test
  void noMemoryIsAnError() {
    assertEquals(
        "no memory for a tensor of 140737488355328 bytes",
        assertThrows(OutOfMemoryError.class, () -> heap.allocate(1L << 47)).getMessage());
    assertEquals(0, heap.bytes());
  }
}
