package org.batchnorm4j.backend.jni;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import org.bytedeco.javacpp.annotation.Cast;
import org.bytedeco.javacpp.annotation.CriticalRegion;
import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Raw;
import org.jspecify.annotations.Nullable;

/**
 * The C functions of {@code cpp/include/batchnorm4j.h}, one static native each: addresses in,
 * status out; and direct buffers on native memory. No checks, no state; {@link NativeLibrary} loads
 * it. Its callers are the native backend, tensors' memory and a frozen network's Linears.
 */
@Platform(
    include = {"batchnorm4j.h", "batchnorm4j_jni.h"},
    library = "jnibatchnorm4j",
    compiler = "cpp17",
    preload = "gomp@.1")
@NoException
public final class BatchNormNative {
  private BatchNormNative() {}

  /**
   * Version of the ABI the library was built with; must equal {@link NativeLibrary#ABI_VERSION}.
   */
  public static native int bn_abi_version();

  /** The best instruction set of this CPU, in the numbering of {@code bn_isa}. */
  public static native int bn_detect_isa();

  /** 64-byte aligned memory, or 0 when there is none. */
  public static native @Cast("int64_t") long bn_alloc(@Cast("int64_t") long bytes);

  /** Frees what {@link #bn_alloc} gave. */
  public static native void bn_free(@Cast("int64_t") long address);

  /** A buffer on memory that stays valid as long as the buffer is used. */
  @Raw(withEnv = true)
  public static native ByteBuffer bn_buffer(long address, long bytes);

  /** Where the first element of a direct buffer lies, whatever its position. */
  public static native long bn_address(@Raw(withEnv = true) Buffer buffer);

  /** Runs a small problem on the given instruction set and compares it with known bits. */
  public static native int bn_self_test(int isa);

  /** y = act((x - runningMean) / sqrt(runningVar + eps) * weight + bias + residual). */
  public static native int bn_inference(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long residual,
      @Cast("int64_t") long residualPitch,
      @Cast("void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long runningMean,
      @Cast("const void*") long runningVar,
      @Cast("const void*") long weight,
      @Cast("const void*") long bias,
      double eps);

  /**
   * {@link #bn_inference} of a slice of a problem of {@code whole} values, in arrays of the Java
   * heap, which the garbage collector leaves where they are until the call returns. Bytes count
   * from the beginning of an array; where it is null they are an address. On the calling thread.
   */
  public static native int bn_inference_slice_of(
      @Raw(withEnv = true) @Nullable Object x,
      long xBytes,
      long xPitch,
      @Raw @Nullable Object residual,
      long residualBytes,
      long residualPitch,
      @Raw @Nullable Object y,
      long yBytes,
      long yPitch,
      int isa,
      int dtype,
      int layout,
      long n,
      long c,
      long s,
      int activation,
      double slope,
      long runningMean,
      long runningVar,
      long weight,
      long bias,
      double eps,
      long whole);

  /** Normalizes with the batch's statistics, saves them and updates the running statistics. */
  public static native int bn_training(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long residual,
      @Cast("int64_t") long residualPitch,
      @Cast("void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long weight,
      @Cast("const void*") long bias,
      double eps,
      @Cast("void*") long mean,
      @Cast("void*") long meanLow,
      @Cast("void*") long invStd,
      @Cast("void*") long runningMean,
      @Cast("void*") long runningVar,
      double momentum);

  /** Gradients of {@link #bn_training}. */
  public static native int bn_backward_training(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long dy,
      @Cast("int64_t") long dyPitch,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long weight,
      @Cast("const void*") long bias,
      @Cast("const void*") long mean,
      @Cast("const void*") long meanLow,
      @Cast("const void*") long invStd,
      @Cast("void*") long dx,
      @Cast("int64_t") long dxPitch,
      @Cast("void*") long dresidual,
      @Cast("int64_t") long dresidualPitch,
      @Cast("void*") long dweight,
      @Cast("void*") long dbias);

  /** Gradients of {@link #bn_inference}. */
  public static native int bn_backward_inference(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long dy,
      @Cast("int64_t") long dyPitch,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long weight,
      @Cast("const void*") long bias,
      @Cast("const void*") long runningMean,
      @Cast("const void*") long runningVar,
      double eps,
      @Cast("void*") long dx,
      @Cast("int64_t") long dxPitch,
      @Cast("void*") long dresidual,
      @Cast("int64_t") long dresidualPitch,
      @Cast("void*") long dweight,
      @Cast("void*") long dbias);

  /** Mean and squared deviations of each channel. */
  public static native int bn_statistics(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("double*") long mean,
      @Cast("double*") long m2);

  /** y with given statistics. */
  public static native int bn_normalize(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long residual,
      @Cast("int64_t") long residualPitch,
      @Cast("void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long mean,
      @Cast("const void*") long meanLow,
      @Cast("const void*") long invStd,
      @Cast("const void*") long weight,
      @Cast("const void*") long bias);

  /** The sums of backward alone. */
  public static native int bn_gradient_sums(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long dy,
      @Cast("int64_t") long dyPitch,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long mean,
      @Cast("const void*") long meanLow,
      @Cast("double*") long sumDy,
      @Cast("double*") long dot);

  /** dx from given sums. */
  public static native int bn_input_gradient(
      int isa,
      int threads,
      int dtype,
      int layout,
      @Cast("int64_t") long n,
      @Cast("int64_t") long c,
      @Cast("int64_t") long s,
      int activation,
      double slope,
      @Cast("const void*") long dy,
      @Cast("int64_t") long dyPitch,
      @Cast("const void*") long x,
      @Cast("int64_t") long xPitch,
      @Cast("const void*") long y,
      @Cast("int64_t") long yPitch,
      @Cast("const void*") long weight,
      @Cast("const void*") long mean,
      @Cast("const void*") long meanLow,
      @Cast("const void*") long invStd,
      @Cast("const double*") long sumDy,
      @Cast("const double*") long dot,
      double count,
      @Cast("void*") long dx,
      @Cast("int64_t") long dxPitch,
      @Cast("void*") long dresidual,
      @Cast("int64_t") long dresidualPitch);

  /**
   * Layers with few weights, one after another, on rows on the heap; arrays are held until the call
   * returns. A layer is five numbers: in, out, relu, and the addresses of weight and bias.
   */
  @CriticalRegion
  public static native int bn_dense(
      int isa,
      @Cast("int64_t") long rows,
      @Cast("int64_t") long count,
      @Cast("const bn_dense_layer*") long[] layers,
      @Cast("const float*") float[] x,
      @Cast("int64_t") long xAt,
      @Cast("float*") float[] y,
      @Cast("int64_t") long yAt);
}
