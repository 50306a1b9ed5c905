package org.batchnorm4j.nn;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A batch norm with running statistics, in the arithmetic of docs/numerics.md: the bits are those
 * of {@link BatchNorm}. {@code x} and {@code y} may be the same array.
 */
final class BatchNormStep implements Step {
  /** Numbers that are done at a time where channels are neighbours. */
  private static final int CHUNK = 1024;

  private final int channels;
  private final int positions;
  private final float[] mean;
  private final float[] scale;
  private final float[] bias;

  /**
   * A step with the values of {@code bn}, copied.
   *
   * @param positions how many values of a channel a sample has
   */
  BatchNormStep(BatchNorm bn, int positions) {
    this.positions = positions;
    channels = (int) bn.numFeatures();
    float[] var = Objects.requireNonNull(bn.runningVar()).toFloatArray();
    float[] means = Objects.requireNonNull(bn.runningMean()).toFloatArray();
    float @Nullable [] weights = values(bn.weight());
    float @Nullable [] biases = values(bn.bias());
    // Neighbouring channels: as many rows of them as make long loops.
    int rows = positions > 1 ? 1 : Math.max(1, CHUNK / channels);
    mean = new float[rows * channels];
    scale = new float[rows * channels];
    bias = new float[rows * channels];
    for (int i = 0; i < mean.length; i++) {
      int c = i % channels;
      float invStd = 1 / (float) Math.sqrt((float) (var[c] + bn.eps()));
      mean[i] = means[c];
      scale[i] = weights == null ? invStd : invStd * weights[c];
      bias[i] = biases == null ? 0 : biases[c];
    }
  }

  private static float @Nullable [] values(@Nullable Parameter parameter) {
    return parameter == null ? null : parameter.value().toFloatArray();
  }

  @Override
  public Runner newRunner(int samples) {
    return positions > 1 ? this::overPlanes : new Rows();
  }

  private void overPlanes(float[] x, float[] y, int n) {
    for (int plane = 0; plane < n * channels; plane++) {
      int c = plane % channels;
      float m = mean[c];
      float s = scale[c];
      float b = bias[c];
      int end = (plane + 1) * positions;
      for (int i = plane * positions; i < end; i++) {
        y[i] = Math.fma(x[i] - m, s, b);
      }
    }
  }

  private final class Rows implements Runner {
    private final float[] chunk = new float[mean.length];

    @Override
    public void run(float[] x, float[] y, int n) {
      int size = n * channels;
      for (int at = 0; at < size; at += chunk.length) {
        int length = Math.min(chunk.length, size - at);
        // Loops over arrays that begin at different elements would not be vectorized.
        System.arraycopy(x, at, chunk, 0, length);
        for (int i = 0; i < length; i++) {
          chunk[i] = Math.fma(chunk[i] - mean[i], scale[i], bias[i]);
        }
        System.arraycopy(chunk, 0, y, at, length);
      }
    }
  }
}
