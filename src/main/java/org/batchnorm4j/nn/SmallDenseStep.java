package org.batchnorm4j.nn;

import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A Linear, and a ReLU behind it where there is one, whose weights stay in the cache, where a call
 * into OpenBLAS would take longer than the product. An output is its bias and then one fma for each
 * input, in order, in Java and in native code: the bits depend neither on that nor on the number of
 * rows.
 */
final class SmallDenseStep implements Step {
  private static final int MOST_WEIGHTS = 1 << 14;

  /** Products of one native call, which takes far less than a millisecond. */
  private static final int SLICE = 1 << 20;

  private static final int LANES = 16;

  private final int in;
  private final int out;
  private final int rowsPerSample;
  private final boolean relu;

  /** The instruction set of the native kernel, or null to compute in Java. */
  private final @Nullable Isa isa;

  /** By input and then output, so that the outputs of one input are neighbours. */
  private final float[][] byInput;

  private final float[] bias;

  /** {@link #byInput} and {@link #bias} for native code, padded with zeros. */
  private final Tensor nativeWeight;

  private final Tensor nativeBias;

  static boolean isFor(Linear linear) {
    return (long) linear.inFeatures() * linear.outFeatures() <= MOST_WEIGHTS;
  }

  /** The native kernel that the switches allow, or null. */
  static @Nullable Isa bestIsa() {
    return Backends.best() instanceof NativeBackend b && b.isa() != Isa.SCALAR ? b.isa() : null;
  }

  /**
   * A step with the values of {@code linear}, copied.
   *
   * @param rowsPerSample how many rows of {@code inFeatures} a sample has
   * @param relu whether a ReLU follows, which this step does too
   */
  SmallDenseStep(Linear linear, int rowsPerSample, boolean relu, @Nullable Isa isa) {
    in = linear.inFeatures();
    out = linear.outFeatures();
    this.rowsPerSample = rowsPerSample;
    this.relu = relu;
    this.isa = isa;
    float[] values = linear.weight().value().toFloatArray();
    byInput = new float[in][out];
    for (int i = 0; i < in; i++) {
      for (int o = 0; o < out; o++) {
        byInput[i][o] = values[o * in + i];
      }
    }
    Parameter b = linear.bias();
    bias = b == null ? new float[out] : b.value().toFloatArray();
    int pitch = (out + LANES - 1) / LANES * LANES;
    nativeWeight = Tensor.zeros(in, pitch);
    nativeBias = Tensor.zeros(pitch);
    for (int i = 0; i < in; i++) {
      nativeWeight.write((long) i * pitch, byInput[i], 0, out);
    }
    nativeBias.write(0, bias, 0, out);
  }

  @Override
  public Runner newRunner(int samples) {
    return isa == null ? new InJava() : new InNativeCode(isa);
  }

  @Override
  public void close() {
    nativeWeight.close();
    nativeBias.close();
  }

  private final class InNativeCode implements Runner {
    private final int isaNumber;

    InNativeCode(Isa isa) {
      isaNumber = isa.ordinal();
      nativeWeight.acquire();
      nativeBias.acquire();
    }

    @Override
    public void run(float[] x, float[] y, int n) {
      int rows = n * rowsPerSample;
      int slice = Math.max(1, SLICE / Math.max(1, in * out));
      for (int r = 0; r < rows; r += slice) {
        int status =
            BatchNormNative.bn_dense(
                isaNumber,
                Math.min(slice, rows - r),
                in,
                out,
                x,
                (long) r * in,
                nativeWeight.address(),
                nativeBias.address(),
                relu ? 1 : 0,
                y,
                (long) r * out);
        if (status != 0) {
          throw new IllegalStateException("the native library returned status " + status);
        }
      }
    }

    @Override
    public void close() {
      nativeWeight.release();
      nativeBias.release();
    }
  }

  private final class InJava implements Runner {
    private final float[] sums = new float[out];

    @Override
    public void run(float[] x, float[] y, int n) {
      int rows = n * rowsPerSample;
      for (int r = 0; r < rows; r++) {
        System.arraycopy(bias, 0, sums, 0, out);
        for (int i = 0; i < in; i++) {
          addProduct(x[r * in + i], byInput[i], sums);
        }
        if (relu) {
          clamp(sums);
        }
        System.arraycopy(sums, 0, y, r * out, out);
      }
    }

    private static void clamp(float[] sums) {
      for (int o = 0; o < sums.length; o++) {
        sums[o] = sums[o] < 0 ? 0 : sums[o];
      }
    }

    private static void addProduct(float factor, float[] weights, float[] sums) {
      for (int o = 0; o < sums.length; o++) {
        sums[o] = Math.fma(factor, weights[o], sums[o]);
      }
    }
  }
}
