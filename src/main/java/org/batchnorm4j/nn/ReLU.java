package org.batchnorm4j.nn;

/**
 * max(x, 0), NaN kept, like {@code torch.nn.ReLU}: any shape, any contiguous memory format, which
 * the output keeps. f32.
 */
public final class ReLU extends Elementwise {

  @Override
  void apply(float[] values, int n, long at) {
    for (int i = 0; i < n; i++) {
      values[i] = values[i] < 0 ? 0 : values[i];
    }
  }

  @Override
  void applyGradient(float[] x, float[] dy, int n, long at) {
    for (int i = 0; i < n; i++) {
      dy[i] = x[i] <= 0 ? 0 : dy[i];
    }
  }
}
