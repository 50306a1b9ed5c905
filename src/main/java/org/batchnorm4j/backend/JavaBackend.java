package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/** The reference: docs/numerics.md in plain Java. */
public final class JavaBackend implements BatchNormBackend {
  JavaBackend() {}

  @Override
  public String name() {
    return "java";
  }

  @Override
  public void inference(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void training(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar,
      double momentum) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void backwardTraining(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      SavedStatistics saved,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void backwardInference(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      Tensor runningMean,
      Tensor runningVar,
      double eps,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    throw new UnsupportedOperationException();
  }
}
