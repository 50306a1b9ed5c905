package org.batchnorm4j.tensor;

import java.nio.Buffer;
import org.jspecify.annotations.Nullable;

/**
 * MemorySegments as {@link Memory}. This class is for JDKs that have none; its namesake under
 * {@code src/main/jdk22} takes its place on JDK 22 and later, in a library that was built where
 * there is one.
 */
final class Segments {
  private Segments() {}

  /** Null: on earlier JDKs no arena ends the memory of buffers. */
  static Memory.@Nullable Lender lender(Buffer direct) {
    return null;
  }

  /** 0: without native code, earlier JDKs do not say. */
  static long address(Buffer direct) {
    return 0;
  }

  static Memory memory(Object segment, DType dtype, Shape shape) {
    throw new UnsupportedOperationException(
        "wrapSegment needs JDK 22 or later and a batchnorm4j.jar that was built with one, but this"
            + " is Java "
            + Runtime.version().feature()
            + " or a build without it; wrap segment.asByteBuffer().order(ByteOrder.nativeOrder())");
  }
}
