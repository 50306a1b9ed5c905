package org.batchnorm4j.optim;

/**
 * Multiplies the learning rate by {@code gamma} every {@code stepSize} epochs, like {@code
 * torch.optim.lr_scheduler.StepLR}. Call {@link #step} after each epoch.
 */
public final class StepLR {
  private final Optimizer optimizer;
  private final int stepSize;
  private final double gamma;
  private int epoch;

  /** With PyTorch's gamma of 0.1. */
  public StepLR(Optimizer optimizer, int stepSize) {
    this(optimizer, stepSize, 0.1);
  }

  /**
   * For this optimizer.
   *
   * @param stepSize epochs from one change to the next
   * @param gamma the factor of a change
   * @throws IllegalArgumentException if {@code stepSize} is less than 1, or {@code gamma} negative
   */
  public StepLR(Optimizer optimizer, int stepSize, double gamma) {
    if (stepSize < 1) {
      throw new IllegalArgumentException("stepSize must be at least 1, but got " + stepSize);
    }
    this.optimizer = optimizer;
    this.stepSize = stepSize;
    this.gamma = Optimizer.notNegative("gamma", gamma);
  }

  /** Ends an epoch. */
  public void step() {
    epoch++;
    if (epoch % stepSize == 0) {
      optimizer.learningRate(optimizer.learningRate() * gamma);
    }
  }
}
