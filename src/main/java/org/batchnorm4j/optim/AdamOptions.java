package org.batchnorm4j.optim;

/**
 * The options of {@link Adam} and {@link AdamW} but for the learning rate, made from {@link
 * #DEFAULTS}: {@code AdamOptions.DEFAULTS.weightDecay(1e-4)}.
 *
 * @param beta1 how much of the gradients' running mean is kept
 * @param beta2 how much of the squared gradients' running mean is kept
 * @param eps added to the denominator
 * @param weightDecay for Adam, how much of the parameter is added to its gradient; for AdamW, how
 *     much of it is taken away per step, times the learning rate
 */
public record AdamOptions(double beta1, double beta2, double eps, double weightDecay) {
  /** PyTorch's defaults for Adam: 0.9, 0.999, 1e-8, no weight decay. */
  public static final AdamOptions DEFAULTS = new AdamOptions(0.9, 0.999, 1e-8, 0);

  /**
   * Checks each option.
   *
   * @throws IllegalArgumentException if a beta is not within [0, 1), or another one negative
   */
  public AdamOptions {
    Optimizer.fraction("beta1", beta1);
    Optimizer.fraction("beta2", beta2);
    Optimizer.notNegative("eps", eps);
    Optimizer.notNegative("weightDecay", weightDecay);
  }

  /** These options with other betas. */
  public AdamOptions betas(double first, double second) {
    return new AdamOptions(first, second, eps, weightDecay);
  }

  /** These options with another eps. */
  public AdamOptions eps(double value) {
    return new AdamOptions(beta1, beta2, value, weightDecay);
  }

  /** These options with another weight decay. */
  public AdamOptions weightDecay(double value) {
    return new AdamOptions(beta1, beta2, eps, value);
  }
}
