package org.batchnorm4j.optim;

import java.util.List;
import org.batchnorm4j.nn.Parameter;

/**
 * Adam with the weight decay apart from the gradient (Loshchilov and Hutter, 2019), by the rule of
 * {@code torch.optim.AdamW}.
 */
public final class AdamW extends Moments {

  /** With a learning rate of 0.001. */
  public AdamW(List<Parameter> parameters) {
    this(parameters, 1e-3);
  }

  /** With betas 0.9 and 0.999, eps 1e-8 and PyTorch's weight decay of 0.01. */
  public AdamW(List<Parameter> parameters, double learningRate) {
    this(parameters, learningRate, AdamOptions.DEFAULTS.weightDecay(0.01));
  }

  /**
   * With options.
   *
   * @throws IllegalArgumentException if there are no parameters or the learning rate is negative
   */
  public AdamW(List<Parameter> parameters, double learningRate, AdamOptions options) {
    super(parameters, learningRate, options);
  }

  @Override
  void decay(double weightDecay, int n, double[] values, double[] gradients) {
    double keep = 1 - learningRate() * weightDecay;
    for (int i = 0; i < n; i++) {
      values[i] *= keep;
    }
  }
}
