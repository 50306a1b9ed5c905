package org.batchnorm4j.optim;

import java.util.List;
import org.batchnorm4j.nn.Parameter;

/** What Adam and AdamW share: all but where the weight decay goes. */
abstract sealed class Moments extends Optimizer permits Adam, AdamW {
  private final AdamOptions options;
  private final double[][][] first;
  private final double[][][] second;
  private long steps;

  Moments(List<Parameter> parameters, double learningRate, AdamOptions options) {
    super(parameters, learningRate);
    this.options = options;
    first = state();
    second = state();
  }

  /** Applies the weight decay, to the values or the gradients. */
  abstract void decay(double weightDecay, int n, double[] values, double[] gradients);

  @Override
  final void update(int index, int chunk, int n, double[] values, double[] gradients) {
    if (options.weightDecay() != 0) {
      decay(options.weightDecay(), n, values, gradients);
    }
    double[] m = first[index][chunk];
    double[] v = second[index][chunk];
    double beta1 = options.beta1();
    double beta2 = options.beta2();
    double eps = options.eps();
    // Both means start at 0; these make up for it.
    double rate = learningRate() / (1 - Math.pow(beta1, steps + 1));
    double correction = 1 / Math.sqrt(1 - Math.pow(beta2, steps + 1));
    for (int i = 0; i < n; i++) {
      double g = gradients[i];
      double mean = beta1 * m[i] + (1 - beta1) * g;
      double square = beta2 * v[i] + (1 - beta2) * g * g;
      m[i] = mean;
      v[i] = square;
      values[i] -= rate * mean / (Math.sqrt(square) * correction + eps);
    }
  }

  @Override
  final void endStep() {
    steps++;
  }
}
