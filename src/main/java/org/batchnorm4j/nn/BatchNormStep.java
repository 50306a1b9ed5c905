package org.batchnorm4j.nn;

import java.util.Arrays;
import java.util.Objects;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A batch norm with running statistics, in the arithmetic of docs/numerics.md: the bits are those
 * of {@link BatchNorm}. {@code x} and {@code y} may be the same array.
 */
final class BatchNormStep implements Step {
  /** Numbers that Java does at a time: loops over arrays that begin anywhere are not vectorized. */
  private static final int CHUNK = 1024;

  /** Fewer are done in Java sooner than native code is called. */
  private static final int FEW = 1 << 11;

  /** As many move in a fraction of a millisecond, for which native code may hold an array. */
  private static final int SLICE = 1 << 16;

  private final int channels;
  private final int positions;
  private final double eps;
  private final float[] mean;
  private final float[] scale;
  private final float[] bias;

  /** The instruction set of the native kernel, or null to compute in Java. */
  private final @Nullable Isa isa;

  /** Mean, variance, weight and bias for native code. */
  private final Tensor parameters;

  /**
   * A step with the values of {@code bn}, copied.
   *
   * @param positions how many values of a channel a sample has
   */
  BatchNormStep(BatchNorm bn, int positions, @Nullable Isa isa) {
    this.positions = positions;
    this.isa = isa;
    channels = (int) bn.numFeatures();
    eps = bn.eps();
    float[] var = Objects.requireNonNull(bn.runningVar()).toFloatArray();
    float[] means = Objects.requireNonNull(bn.runningMean()).toFloatArray();
    float[] weights = values(bn.weight(), 1);
    float[] biases = values(bn.bias(), 0);
    // Neighbouring channels: as many rows of them as make long loops.
    int rows = positions > 1 ? 1 : Math.max(1, CHUNK / channels);
    mean = new float[rows * channels];
    scale = new float[rows * channels];
    bias = new float[rows * channels];
    for (int i = 0; i < mean.length; i++) {
      int c = i % channels;
      float invStd = 1 / (float) Math.sqrt((float) (var[c] + eps));
      mean[i] = means[c];
      scale[i] = invStd * weights[c];
      bias[i] = biases[c];
    }
    parameters = Tensor.zeros(4, channels);
    parameters.write(0, means, 0, channels);
    parameters.write(channels, var, 0, channels);
    parameters.write(2L * channels, weights, 0, channels);
    parameters.write(3L * channels, biases, 0, channels);
  }

  private float[] values(@Nullable Parameter parameter, float otherwise) {
    if (parameter != null) {
      return parameter.value().toFloatArray();
    }
    float[] values = new float[channels];
    Arrays.fill(values, otherwise);
    return values;
  }

  @Override
  public Runner newRunner(int samples) {
    return new Normalizer();
  }

  @Override
  public void close() {
    parameters.close();
  }

  private final class Normalizer implements Anywhere {
    private final float[] chunk = new float[positions > 1 ? CHUNK : mean.length];

    Normalizer() {
      parameters.acquire();
    }

    @Override
    public boolean worksInPlace() {
      return true;
    }

    @Override
    public void run(float[] x, int xFrom, float[] y, int yFrom, int n) {
      int sample = channels * positions;
      if (isa != null && (long) n * sample >= FEW && sample <= SLICE) {
        int slice = SLICE / sample;
        for (int i = 0; i < n; i += slice) {
          long at = (long) i * sample;
          inNativeCode(
              isa,
              x,
              (xFrom + at) * Float.BYTES,
              y,
              (yFrom + at) * Float.BYTES,
              Math.min(slice, n - i));
        }
      } else if (positions > 1) {
        overPlanes(x, xFrom, y, yFrom, n * channels);
      } else {
        overRows(x, xFrom, y, yFrom, n * channels);
      }
    }

    @Override
    public boolean runAt(long x, long y, int n) {
      if (isa == null) {
        return false;
      }
      inNativeCode(isa, null, x, null, y, n);
      return true;
    }

    /** From the beginning of an array, or where there is none from address 0, in bytes. */
    private void inNativeCode(
        Isa set, float @Nullable [] x, long xBytes, float @Nullable [] y, long yBytes, int n) {
      long address = parameters.address();
      long row = (long) channels * Float.BYTES;
      long pitch = (long) channels * positions;
      int status =
          BatchNormNative.bn_inference_from(
              set.ordinal(),
              1,
              DType.F32.ordinal(),
              (positions > 1 ? Layout.NCS : Layout.NSC).ordinal(),
              n,
              channels,
              positions,
              Activation.Kind.NONE.ordinal(),
              0,
              x,
              xBytes,
              pitch,
              null,
              0,
              0,
              y,
              yBytes,
              pitch,
              address,
              address + row,
              address + 2 * row,
              address + 3 * row,
              eps);
      if (status != 0) {
        throw new IllegalStateException("the native library returned status " + status);
      }
    }

    private void overPlanes(float[] x, int xFrom, float[] y, int yFrom, int planes) {
      for (int plane = 0; plane < planes; plane++) {
        int c = plane % channels;
        float m = mean[c];
        float s = scale[c];
        float b = bias[c];
        int end = (plane + 1) * positions;
        for (int at = plane * positions; at < end; at += CHUNK) {
          int length = Math.min(CHUNK, end - at);
          System.arraycopy(x, xFrom + at, chunk, 0, length);
          for (int i = 0; i < length; i++) {
            chunk[i] = Math.fma(chunk[i] - m, s, b);
          }
          System.arraycopy(chunk, 0, y, yFrom + at, length);
        }
      }
    }

    private void overRows(float[] x, int xFrom, float[] y, int yFrom, int size) {
      for (int at = 0; at < size; at += chunk.length) {
        int length = Math.min(chunk.length, size - at);
        System.arraycopy(x, xFrom + at, chunk, 0, length);
        for (int i = 0; i < length; i++) {
          chunk[i] = Math.fma(chunk[i] - mean[i], scale[i], bias[i]);
        }
        System.arraycopy(chunk, 0, y, yFrom + at, length);
      }
    }

    @Override
    public void close() {
      parameters.release();
    }
  }
}
