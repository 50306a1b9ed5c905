package org.batchnorm4j.nn;

/**
 * x where x &gt; 0, slope * x elsewhere, like {@code torch.nn.LeakyReLU}: any shape, any contiguous
 * memory format, which the output keeps. f32.
 */
public final class LeakyReLU extends Elementwise {
  private final double negativeSlope;

  /** With PyTorch's slope of 0.01. */
  public LeakyReLU() {
    this(0.01);
  }

  /**
   * With the given slope for negative values.
   *
   * @throws IllegalArgumentException if the slope is not finite, as a float too
   */
  public LeakyReLU(double negativeSlope) {
    if (!Float.isFinite((float) negativeSlope)) {
      throw new IllegalArgumentException("negativeSlope must be finite, but got " + negativeSlope);
    }
    this.negativeSlope = negativeSlope;
  }

  /** The slope for negative values. */
  public double negativeSlope() {
    return negativeSlope;
  }

  @Override
  LeakyReLU copy() {
    return withState(new LeakyReLU(negativeSlope));
  }

  // Signs of data are random: a branch on them would cost more than all the rest.

  @Override
  void apply(float[] values, int n, long at) {
    int one = Float.floatToRawIntBits(1);
    int slope = Float.floatToRawIntBits((float) negativeSlope);
    for (int i = 0; i < n; i++) {
      values[i] *= Float.intBitsToFloat(values[i] < 0 ? slope : one);
    }
  }

  @Override
  void applyGradient(float[] x, float[] dy, int n, long at) {
    int one = Float.floatToRawIntBits(1);
    int slope = Float.floatToRawIntBits((float) negativeSlope);
    for (int i = 0; i < n; i++) {
      dy[i] *= Float.intBitsToFloat(x[i] > 0 ? one : slope);
    }
  }

  @Override
  String options() {
    return "negative_slope=" + negativeSlope;
  }
}
