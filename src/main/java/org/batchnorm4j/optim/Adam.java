package org.batchnorm4j.optim;

import java.util.List;
import org.batchnorm4j.nn.Parameter;

/** Adam (Kingma and Ba, 2015), by the rule of {@code torch.optim.Adam}. */
public final class Adam extends Moments {

  /** With a learning rate of 0.001. */
  public Adam(List<Parameter> parameters) {
    this(parameters, 1e-3);
  }

  /** With betas 0.9 and 0.999, eps 1e-8 and no weight decay. */
  public Adam(List<Parameter> parameters, double learningRate) {
    this(parameters, learningRate, AdamOptions.DEFAULTS);
  }

  /**
   * With options.
   *
   * @throws IllegalArgumentException if there are no parameters or the learning rate is negative
   */
  public Adam(List<Parameter> parameters, double learningRate, AdamOptions options) {
    super(parameters, learningRate, options);
  }

  @Override
  void decay(double weightDecay, int n, double[] values, double[] gradients) {
    for (int i = 0; i < n; i++) {
      gradients[i] += weightDecay * values[i];
    }
  }
}
