package org.batchnorm4j.backend;

import java.lang.ref.Reference;
import java.util.Objects;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * {@link NativeBackend#inference} where data lies in arrays of the Java heap, without a copy: what
 * stays the same from call to call. While native code holds an array the garbage collector may have
 * to wait, so a call is made of slices, each of which takes a fraction of a millisecond. It runs on
 * the calling thread alone, so that nothing delays the end of a slice.
 *
 * <p>Immutable and thread-safe. A call allocates nothing.
 *
 * @param sample the problem with any number of samples: how many there are, a call says
 */
public record HeapInference(
    Isa isa,
    Problem sample,
    Tensor runningMean,
    Tensor runningVar,
    @Nullable Tensor weight,
    @Nullable Tensor bias,
    double eps) {
  /**
   * Bytes of x in a slice. With those of y and a residual a slice moves three times as many, which
   * at 1 GB/s takes 0.8 ms.
   */
  private static final long SLICE = 1 << 18;

  /**
   * @throws IllegalArgumentException if a tensor has not C values of the parameters' type, or lies
   *     where native code cannot go
   */
  public HeapInference {
    checkPerChannel(sample, runningMean);
    checkPerChannel(sample, runningVar);
    checkPerChannel(sample, weight);
    checkPerChannel(sample, bias);
  }

  private static void checkPerChannel(Problem sample, @Nullable Tensor t) {
    DType type = sample.dtype().parameterType();
    if (t != null && !sample.fitsPerChannel(t, type)) {
      throw new IllegalArgumentException(
          "expected at least " + sample.c() + " contiguous values in " + type + ", but got " + t);
    }
    if (t != null && t.address() == 0) {
      throw new IllegalArgumentException(
          t + " lies where native code cannot go; copy it with to(DType)");
    }
  }

  /** Whether data is where native code can go, in arrays of the right type or outside the heap. */
  static boolean canReach(DType dtype, Tensor x, @Nullable Tensor residual, Tensor y) {
    return canReach(dtype, x)
        && canReach(dtype, y)
        && (residual == null || canReach(dtype, residual));
  }

  private static boolean canReach(DType dtype, Tensor t) {
    Object array = TensorAccess.array(t);
    return switch (dtype) {
          case F32 -> array instanceof float[];
          case F64 -> array instanceof double[];
          case BF16, F16 -> array instanceof short[];
          case I64 -> false;
        }
        || t.address() != 0;
  }

  /** Of the samples of the problem, in tensors that it {@link #canReach}. */
  void run(Tensor x, @Nullable Tensor residual, Tensor y) {
    if (!sample.fits(x) || !sample.fits(y) || residual != null && !sample.fits(residual)) {
      throw new IllegalArgumentException(
          "x is " + x + ", residual " + residual + " and y " + y + ", too small for " + sample);
    }
    run(
        sample.n(),
        TensorAccess.array(x),
        begin(x),
        x.pitch(),
        residual == null ? null : TensorAccess.array(residual),
        residual == null ? 0 : begin(residual),
        residual == null ? 0 : residual.pitch(),
        TensorAccess.array(y),
        begin(y),
        y.pitch());
  }

  /** In bytes, from the beginning of the tensor's array or from address 0. */
  private static long begin(Tensor t) {
    return TensorAccess.array(t) == null ? t.address() : TensorAccess.arrayBytes(t);
  }

  /**
   * Of {@code n} samples in f32, one behind the other, without a residual. The caller sees to it
   * that the tensors of this record are not closed meanwhile ({@link TensorAccess#acquire}).
   *
   * @param xFrom the index of the first value
   * @param y where the outputs go, from {@code yFrom} on: the very place of the input, or elsewhere
   * @throws IndexOutOfBoundsException if an array does not have that many values
   * @throws IllegalArgumentException if the problem is not in F32
   */
  public void run(long n, float[] x, int xFrom, float[] y, int yFrom) {
    long row = row();
    if (sample.dtype() != DType.F32) {
      throw new IllegalArgumentException("arrays of floats are F32, but this is " + sample);
    }
    long values = values(n);
    Objects.checkFromIndexSize(xFrom, values, x.length);
    Objects.checkFromIndexSize(yFrom, values, y.length);
    run(n, x, (long) xFrom * Float.BYTES, row, null, 0, 0, y, (long) yFrom * Float.BYTES, row);
  }

  /**
   * Of the first {@code n} samples of contiguous tensors outside the heap, without a residual. The
   * caller sees to it that they, and the tensors of this record, are not closed meanwhile.
   *
   * @param y where the outputs go; it may be {@code x}
   * @throws IllegalArgumentException if one of them is not as said, or of another type
   */
  public void run(long n, Tensor x, Tensor y) {
    run(n, null, outside(x, n), row(), null, 0, 0, null, outside(y, n), row());
  }

  private long outside(Tensor t, long n) {
    if (t.dtype() != sample.dtype()
        || !t.isContiguous()
        || t.size() < values(n)
        || t.address() == 0) {
      throw new IllegalArgumentException(
          "expected " + n + " contiguous samples outside the heap for " + sample + ", got " + t);
    }
    return t.address();
  }

  private long values(long n) {
    return Math.multiplyExact(n, Math.multiplyExact(sample.c(), sample.s()));
  }

  /** The pitch of samples one behind the other. */
  private long row() {
    return sample.layout() == Layout.NSC ? sample.c() : sample.c() * sample.s();
  }

  private void run(
      long samples,
      @Nullable Object x,
      long xBytes,
      long xPitch,
      @Nullable Object residual,
      long residualBytes,
      long residualPitch,
      @Nullable Object y,
      long yBytes,
      long yPitch) {
    // Channels last is rows of C channels: samples of one position.
    boolean rows = sample.layout() == Layout.NSC;
    long n = rows ? samples * sample.s() : samples;
    long c = sample.c();
    long s = rows ? 1 : sample.s();
    long all = n * c * s;
    if (all == 0) {
      return;
    }
    boolean onHeap = x != null || residual != null || y != null;
    boolean adds = residual != null || residualBytes != 0;
    int element = sample.dtype().bytes();
    int parameter = sample.dtype().parameterType().bytes();
    long values = onHeap ? SLICE / element : all;
    long positions = Math.min(s, values);
    long channels = positions < s ? 1 : Math.min(c, values / s);
    long count = channels < c ? 1 : Math.min(n, values / (c * s));
    try {
      for (long i = 0; i < n; i += count) {
        for (long j = 0; j < c; j += channels) {
          for (long k = 0; k < s; k += positions) {
            long at = j * s + k;
            NativeBackend.check(
                BatchNormNative.bn_inference_slice_of(
                    x,
                    xBytes + (i * xPitch + at) * element,
                    xPitch,
                    residual,
                    adds ? residualBytes + (i * residualPitch + at) * element : 0,
                    residualPitch,
                    y,
                    yBytes + (i * yPitch + at) * element,
                    yPitch,
                    isa.ordinal(),
                    sample.dtype().ordinal(),
                    sample.layout().ordinal(),
                    Math.min(count, n - i),
                    Math.min(channels, c - j),
                    Math.min(positions, s - k),
                    sample.activation().kind().ordinal(),
                    sample.activation().slope(),
                    runningMean.address() + j * parameter,
                    runningVar.address() + j * parameter,
                    weight == null ? 0 : weight.address() + j * parameter,
                    bias == null ? 0 : bias.address() + j * parameter,
                    eps,
                    all));
          }
        }
      }
    } finally {
      // Its tensors must not be collected while native code reads them.
      Reference.reachabilityFence(this);
    }
  }
}
