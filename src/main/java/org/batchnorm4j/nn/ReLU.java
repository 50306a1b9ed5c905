package org.batchnorm4j.nn;

/**
 * max(x, 0), NaN kept, like {@code torch.nn.ReLU}: any shape, any contiguous memory format, which
 * the output keeps. f32.
 */
public final class ReLU extends Elementwise {

  @Override
  ReLU copy() {
    return withState(new ReLU());
  }

  // Signs of data are random: a branch on them would cost more than all the rest.

  @Override
  void apply(float[] values, int n, long at) {
    for (int i = 0; i < n; i++) {
      int mask = values[i] < 0 ? 0 : -1;
      values[i] = Float.intBitsToFloat(Float.floatToRawIntBits(values[i]) & mask);
    }
  }

  @Override
  void applyGradient(float[] x, float[] dy, int n, long at) {
    for (int i = 0; i < n; i++) {
      int mask = x[i] <= 0 ? 0 : -1;
      dy[i] = Float.intBitsToFloat(Float.floatToRawIntBits(dy[i]) & mask);
    }
  }
}
