package org.batchnorm4j.optim;

/**
 * Multiplies the learning rate by a factor when a metric has stopped getting better, like {@code
 * torch.optim.lr_scheduler.ReduceLROnPlateau}. Call {@link #step} with the metric after each epoch.
 */
public final class ReduceLROnPlateau {
  private final Optimizer optimizer;
  private final Options options;
  private double best;
  private int badEpochs;
  private int cooldownLeft;

  /** Whether a smaller or a larger metric is better. */
  public enum Mode {
    /** Smaller is better, as of a loss. */
    MIN,
    /** Larger is better, as of an accuracy. */
    MAX
  }

  /** What the threshold is a part of. */
  public enum ThresholdMode {
    /** Of the best metric so far. */
    REL,
    /** Of nothing: it is an absolute difference. */
    ABS
  }

  /**
   * PyTorch's options, made from {@link #DEFAULTS}.
   *
   * @param mode whether a smaller or a larger metric is better
   * @param factor what the learning rate is multiplied by, less than 1
   * @param patience the number of epochs without improvement that are let pass
   * @param threshold how much better than the best a metric must be to count
   * @param thresholdMode what the threshold is a part of
   * @param cooldown the number of epochs after a change that are not counted
   * @param minLearningRate the learning rate never falls below this
   * @param eps changes of the learning rate up to this are left out
   */
  public record Options(
      Mode mode,
      double factor,
      int patience,
      double threshold,
      ThresholdMode thresholdMode,
      int cooldown,
      double minLearningRate,
      double eps) {
    /** PyTorch's defaults. */
    public static final Options DEFAULTS =
        new Options(Mode.MIN, 0.1, 10, 1e-4, ThresholdMode.REL, 0, 0, 1e-8);

    /**
     * Checks each option.
     *
     * @throws IllegalArgumentException if the factor is not within [0, 1), or a number negative
     */
    public Options {
      Optimizer.fraction("factor", factor);
      Optimizer.notNegative("patience", patience);
      Optimizer.notNegative("threshold", threshold);
      Optimizer.notNegative("cooldown", cooldown);
      Optimizer.notNegative("minLearningRate", minLearningRate);
      Optimizer.notNegative("eps", eps);
    }

    /** These options with another mode. */
    public Options mode(Mode value) {
      return new Options(
          value, factor, patience, threshold, thresholdMode, cooldown, minLearningRate, eps);
    }

    /** These options with another factor. */
    public Options factor(double value) {
      return new Options(
          mode, value, patience, threshold, thresholdMode, cooldown, minLearningRate, eps);
    }

    /** These options with another patience. */
    public Options patience(int value) {
      return new Options(
          mode, factor, value, threshold, thresholdMode, cooldown, minLearningRate, eps);
    }

    /** These options with another threshold. */
    public Options threshold(double value, ThresholdMode of) {
      return new Options(mode, factor, patience, value, of, cooldown, minLearningRate, eps);
    }

    /** These options with another cooldown. */
    public Options cooldown(int value) {
      return new Options(
          mode, factor, patience, threshold, thresholdMode, value, minLearningRate, eps);
    }

    /** These options with another lower limit. */
    public Options minLearningRate(double value) {
      return new Options(mode, factor, patience, threshold, thresholdMode, cooldown, value, eps);
    }

    /** These options with another least change. */
    public Options eps(double value) {
      return new Options(
          mode, factor, patience, threshold, thresholdMode, cooldown, minLearningRate, value);
    }
  }

  /** With PyTorch's defaults, for a loss. */
  public ReduceLROnPlateau(Optimizer optimizer) {
    this(optimizer, Options.DEFAULTS);
  }

  /** With options. */
  public ReduceLROnPlateau(Optimizer optimizer, Options options) {
    this.optimizer = optimizer;
    this.options = options;
    best = options.mode == Mode.MIN ? Double.POSITIVE_INFINITY : Double.NEGATIVE_INFINITY;
  }

  /** Ends an epoch with this metric. NaN is no improvement. */
  public void step(double metric) {
    if (isBetter(metric)) {
      best = metric;
      badEpochs = 0;
    } else {
      badEpochs++;
    }
    if (cooldownLeft > 0) {
      cooldownLeft--;
      badEpochs = 0;
    }
    if (badEpochs > options.patience) {
      reduce();
      cooldownLeft = options.cooldown;
      badEpochs = 0;
    }
  }

  private boolean isBetter(double metric) {
    double t = options.threshold;
    boolean relative = options.thresholdMode == ThresholdMode.REL;
    return switch (options.mode) {
      case MIN -> metric < (relative ? best * (1 - t) : best - t);
      case MAX -> metric > (relative ? best * (1 + t) : best + t);
    };
  }

  private void reduce() {
    double old = optimizer.learningRate();
    double reduced = Math.max(old * options.factor, options.minLearningRate);
    if (old - reduced > options.eps) {
      optimizer.learningRate(reduced);
    }
  }

  /** The best metric so far. */
  public double best() {
    return best;
  }
}
