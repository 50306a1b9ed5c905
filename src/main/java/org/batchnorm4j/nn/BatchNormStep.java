package org.batchnorm4j.nn;

import java.util.Arrays;
import java.util.Objects;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.HeapInference;
import org.batchnorm4j.backend.Layout;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
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

  private final int channels;
  private final int positions;
  private final float[] mean;
  private final float[] scale;
  private final float[] bias;

  /** Rows of mean, variance, weight and bias for native code. */
  private final Tensor parameters;

  /** The native kernel, or null to compute in Java. */
  private final @Nullable HeapInference kernel;

  /**
   * A step with the values of {@code bn}, copied.
   *
   * @param positions how many values of a channel a sample has
   */
  BatchNormStep(BatchNorm bn, int positions, @Nullable NativeBackend backend) {
    this.positions = positions;
    channels = (int) bn.numFeatures();
    double eps = bn.eps();
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
    TensorAccess.write(parameters, 0, means, 0, channels);
    TensorAccess.write(parameters, channels, var, 0, channels);
    TensorAccess.write(parameters, 2L * channels, weights, 0, channels);
    TensorAccess.write(parameters, 3L * channels, biases, 0, channels);
    kernel =
        backend == null
            ? null
            : backend.onHeap(
                new Problem(1, channels, positions, Layout.NCS, DType.F32, Activation.NONE),
                parameters.narrow(0, 0, 1),
                parameters.narrow(0, 1, 1),
                parameters.narrow(0, 2, 1),
                parameters.narrow(0, 3, 1),
                eps);
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
      TensorAccess.acquire(parameters);
    }

    @Override
    public boolean worksInPlace() {
      return true;
    }

    @Override
    public void run(float[] x, int xFrom, float[] y, int yFrom, int n) {
      if (kernel != null && (long) n * channels * positions >= FEW) {
        kernel.run(n, x, xFrom, y, yFrom);
      } else if (positions > 1) {
        overPlanes(x, xFrom, y, yFrom, n * channels);
      } else {
        overRows(x, xFrom, y, yFrom, n * channels);
      }
    }

    @Override
    public boolean runOutside(Tensor x, Tensor y, int n) {
      if (kernel == null) {
        return false;
      }
      kernel.run(n, x, y);
      return true;
    }

    private void overPlanes(float[] x, int xFrom, float[] y, int yFrom, int planes) {
      for (int plane = 0; plane < planes; plane++) {
        int c = plane % channels;
        float m = mean[c];
        float s = scale[c];
        float b = bias[c];
        int end = (plane + 1) * positions;
        int length;
        // By what is left, so that no index overflows in the longest array.
        for (int at = plane * positions; at < end; at += length) {
          length = Math.min(CHUNK, end - at);
          System.arraycopy(x, xFrom + at, chunk, 0, length);
          for (int i = 0; i < length; i++) {
            chunk[i] = Math.fma(chunk[i] - m, s, b);
          }
          System.arraycopy(chunk, 0, y, yFrom + at, length);
        }
      }
    }

    private void overRows(float[] x, int xFrom, float[] y, int yFrom, int size) {
      int length;
      for (int at = 0; at < size; at += length) {
        length = Math.min(chunk.length, size - at);
        System.arraycopy(x, xFrom + at, chunk, 0, length);
        for (int i = 0; i < length; i++) {
          chunk[i] = Math.fma(chunk[i] - mean[i], scale[i], bias[i]);
        }
        System.arraycopy(chunk, 0, y, yFrom + at, length);
      }
    }

    @Override
    public void close() {
      TensorAccess.release(parameters);
    }
  }
}
