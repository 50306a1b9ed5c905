package org.batchnorm4j.backend;

/**
 * What is applied to the normalized value (plus residual) in the same pass.
 *
 * @param kind which function
 * @param slope the slope for negative values: 0 for ReLU, 1 where there is no activation; of
 *     LeakyReLU &gt; 0 and finite, as a float too (the backward pass reads the sign of the input
 *     from the output)
 */
public record Activation(Kind kind, double slope) {
  /**
   * @throws IllegalArgumentException if the slope is not one of that kind
   */
  public Activation {
    boolean fits =
        switch (kind) {
          case NONE -> slope == 1;
          case RELU -> slope == 0;
          case LEAKY_RELU -> slope > 0 && slope <= Float.MAX_VALUE;
        };
    if (!fits) {
      throw new IllegalArgumentException(
          "slope must be "
              + switch (kind) {
                case NONE -> "1";
                case RELU -> "0";
                case LEAKY_RELU -> "> 0 and at most " + Float.MAX_VALUE;
              }
              + ", but got "
              + slope);
    }
  }

  /** The ordinals are those of {@code bn_activation}. */
  public enum Kind {
    /** The value itself. */
    NONE,
    /** max(t, 0), NaN kept. */
    RELU,
    /** t for t >= 0, slope * t below. */
    LEAKY_RELU
  }

  /** No activation. */
  public static final Activation NONE = new Activation(Kind.NONE, 1);

  /** ReLU. */
  public static final Activation RELU = new Activation(Kind.RELU, 0);

  /**
   * LeakyReLU.
   *
   * @param slope the factor of negative values
   * @throws IllegalArgumentException if it is not &gt; 0 and finite, as a float too
   */
  public static Activation leakyRelu(double slope) {
    return new Activation(Kind.LEAKY_RELU, slope);
  }
}
