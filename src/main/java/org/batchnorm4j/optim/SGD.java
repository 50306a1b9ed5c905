package org.batchnorm4j.optim;

import java.util.List;
import org.batchnorm4j.nn.Parameter;

/** Stochastic gradient descent with momentum, by the rule of {@code torch.optim.SGD}. */
public final class SGD extends Optimizer {
  private final Options options;
  private final double[][][] velocity;
  private boolean started;

  /**
   * PyTorch's options but for the learning rate, made from {@link #DEFAULTS}: {@code
   * SGD.Options.DEFAULTS.momentum(0.9)}.
   *
   * @param momentum how much of the last step's direction is kept
   * @param dampening how much of the gradient is left out of the direction, with momentum
   * @param weightDecay how much of the parameter is added to its gradient
   * @param nesterov whether to look one step ahead, with momentum and without dampening
   */
  public record Options(double momentum, double dampening, double weightDecay, boolean nesterov) {
    /** All off. */
    public static final Options DEFAULTS = new Options(0, 0, 0, false);

    /**
     * Checks each option.
     *
     * @throws IllegalArgumentException if momentum or weight decay is negative, or dampening not
     *     finite
     */
    public Options {
      notNegative("momentum", momentum);
      notNegative("weightDecay", weightDecay);
      if (!Double.isFinite(dampening)) {
        throw new IllegalArgumentException("dampening must be finite, but got " + dampening);
      }
    }

    /** These options with another momentum. */
    public Options momentum(double value) {
      return new Options(value, dampening, weightDecay, nesterov);
    }

    /** These options with another dampening. */
    public Options dampening(double value) {
      return new Options(momentum, value, weightDecay, nesterov);
    }

    /** These options with another weight decay. */
    public Options weightDecay(double value) {
      return new Options(momentum, dampening, value, nesterov);
    }

    /** These options with or without Nesterov's momentum. */
    public Options nesterov(boolean wanted) {
      return new Options(momentum, dampening, weightDecay, wanted);
    }
  }

  /** Plain gradient descent. */
  public SGD(List<Parameter> parameters, double learningRate) {
    this(parameters, learningRate, Options.DEFAULTS);
  }

  /**
   * With options.
   *
   * @throws IllegalArgumentException if there are no parameters, the learning rate is negative, or
   *     Nesterov's momentum comes without momentum or with dampening
   */
  public SGD(List<Parameter> parameters, double learningRate, Options options) {
    super(parameters, learningRate);
    if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
      throw new IllegalArgumentException(
          "nesterov needs a momentum > 0 and a dampening of 0, but got " + options);
    }
    this.options = options;
    velocity = options.momentum == 0 ? new double[0][][] : state();
  }

  @Override
  void endStep() {
    started = true;
  }

  @Override
  void update(int index, int chunk, int n, double[] values, double[] gradients) {
    double rate = learningRate();
    if (options.weightDecay != 0) {
      for (int i = 0; i < n; i++) {
        gradients[i] += options.weightDecay * values[i];
      }
    }
    if (options.momentum != 0) {
      double[] v = velocity[index][chunk];
      // The first direction is the gradient itself, without dampening.
      double keep = started ? options.momentum : 0;
      double take = started ? 1 - options.dampening : 1;
      for (int i = 0; i < n; i++) {
        v[i] = keep * v[i] + take * gradients[i];
        gradients[i] = options.nesterov ? gradients[i] + options.momentum * v[i] : v[i];
      }
    }
    for (int i = 0; i < n; i++) {
      values[i] -= rate * gradients[i];
    }
  }
}
