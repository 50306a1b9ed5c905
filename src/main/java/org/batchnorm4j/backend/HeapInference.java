package org.batchnorm4j.backend;

import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Native inference on arrays of the Java heap, without a copy. While native code holds an array the
 * garbage collector may have to wait, so a call is made of slices, each of which takes a fraction
 * of a millisecond. On the calling thread alone, so that nothing delays the end of a slice.
 */
record HeapInference(
    Isa isa,
    Problem problem,
    Tensor x,
    @Nullable Tensor residual,
    Tensor y,
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

  /** Whether everything lies in arrays of the right type, or where native code can go. */
  boolean isPossible() {
    return isReachable(x)
        && isReachable(y)
        && (residual == null || isReachable(residual))
        && runningMean.address() != 0
        && runningVar.address() != 0
        && (weight == null || weight.address() != 0)
        && (bias == null || bias.address() != 0);
  }

  private boolean isReachable(Tensor t) {
    Object array = t.array();
    return switch (problem.dtype()) {
          case F32 -> array instanceof float[];
          case F64 -> array instanceof double[];
          case BF16, F16 -> array instanceof short[];
          case I64 -> false;
        }
        || t.address() != 0;
  }

  /** Computes all slices, and returns the first status that is not 0. */
  int run() {
    // Channels last is rows of C channels: samples of one position.
    boolean rows = problem.layout() == Layout.NSC;
    long n = rows ? problem.n() * problem.s() : problem.n();
    long c = problem.c();
    long s = rows ? 1 : problem.s();
    long values = SLICE / problem.dtype().bytes();
    long positions = Math.min(s, values);
    long channels = positions < s ? 1 : Math.min(c, values / s);
    long samples = channels < c ? 1 : Math.min(n, values / (c * s));
    for (long i = 0; i < n; i += samples) {
      for (long j = 0; j < c; j += channels) {
        for (long k = 0; k < s; k += positions) {
          int status =
              slice(
                  i,
                  Math.min(samples, n - i),
                  j,
                  Math.min(channels, c - j),
                  j * s + k,
                  Math.min(positions, s - k));
          if (status != 0) {
            return status;
          }
        }
      }
    }
    return 0;
  }

  /**
   * One slice.
   *
   * @param sample its first sample
   * @param channel its first channel
   * @param at its first value, counted from the beginning of a sample
   */
  private int slice(long sample, long n, long channel, long c, long at, long s) {
    long parameters = channel * problem.dtype().parameterType().bytes();
    long xBytes = bytes(x, sample, at);
    long residualBytes = residual == null ? 0 : bytes(residual, sample, at);
    long residualPitch = residual == null ? 0 : residual.pitch();
    long yBytes = bytes(y, sample, at);
    long mean = runningMean.address() + parameters;
    long var = runningVar.address() + parameters;
    long weights = weight == null ? 0 : weight.address() + parameters;
    long biases = bias == null ? 0 : bias.address() + parameters;
    int activation = problem.activation().kind().ordinal();
    double slope = problem.activation().slope();
    int set = isa.ordinal();
    int dtype = problem.dtype().ordinal();
    int layout = problem.layout().ordinal();
    Object residuals = residual == null ? null : residual.array();
    return switch (problem.dtype()) {
      case F32 ->
          BatchNormNative.bn_inference_from(
              set,
              1,
              dtype,
              layout,
              n,
              c,
              s,
              activation,
              slope,
              (float[]) x.array(),
              xBytes,
              x.pitch(),
              (float[]) residuals,
              residualBytes,
              residualPitch,
              (float[]) y.array(),
              yBytes,
              y.pitch(),
              mean,
              var,
              weights,
              biases,
              eps);
      case F64 ->
          BatchNormNative.bn_inference_from(
              set,
              1,
              dtype,
              layout,
              n,
              c,
              s,
              activation,
              slope,
              (double[]) x.array(),
              xBytes,
              x.pitch(),
              (double[]) residuals,
              residualBytes,
              residualPitch,
              (double[]) y.array(),
              yBytes,
              y.pitch(),
              mean,
              var,
              weights,
              biases,
              eps);
      case BF16, F16 ->
          BatchNormNative.bn_inference_from(
              set,
              1,
              dtype,
              layout,
              n,
              c,
              s,
              activation,
              slope,
              (short[]) x.array(),
              xBytes,
              x.pitch(),
              (short[]) residuals,
              residualBytes,
              residualPitch,
              (short[]) y.array(),
              yBytes,
              y.pitch(),
              mean,
              var,
              weights,
              biases,
              eps);
      case I64 -> throw new IllegalStateException(DType.I64 + " is not normalized");
    };
  }

  /** From the beginning of the tensor's array, or from address 0, to a value. */
  private static long bytes(Tensor t, long sample, long at) {
    long start = t.array() == null ? t.address() : t.arrayBytes();
    return start + (sample * t.pitch() + at) * t.dtype().bytes();
  }
}
