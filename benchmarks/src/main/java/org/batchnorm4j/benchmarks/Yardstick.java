package org.batchnorm4j.benchmarks;

import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.annotation.Cast;
import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;

/** The functions of {@code yardstick.h}. */
@Platform(
    include = "yardstick.h",
    library = "jniyardstick",
    compiler = "cpp17",
    preload = "gomp@.1")
@NoException
final class Yardstick {
  static {
    Loader.load(Yardstick.class);
  }

  private Yardstick() {}

  static native void yardstick_copy(
      int threads,
      int past,
      @Cast("float*") long to,
      @Cast("const float*") long a,
      @Cast("int64_t") long count);

  static native void yardstick_triad(
      int threads,
      int past,
      @Cast("float*") long to,
      @Cast("const float*") long a,
      @Cast("const float*") long b,
      @Cast("int64_t") long count);

  static native void yardstick_read(
      int threads, @Cast("const float*") long a, @Cast("int64_t") long count);

  /** CPU time of the thread that calls. */
  static native double yardstick_own_seconds();

  /** CPU time of all other threads of this process but the JVM's own. For one thread to call. */
  static native double yardstick_others_seconds();
}
