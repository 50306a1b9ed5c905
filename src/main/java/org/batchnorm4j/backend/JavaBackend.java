package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The reference: docs/numerics.md in plain Java. Runs on the caller's thread, in scratch memory
 * that the thread keeps: a few hundred kilobytes and some numbers per channel.
 */
public final class JavaBackend implements BatchNormBackend {
  private final ThreadLocal<Passes<float[]>> floats =
      ThreadLocal.withInitial(() -> new Passes<>(new FloatKernels()));
  private final ThreadLocal<Passes<double[]>> doubles =
      ThreadLocal.withInitial(() -> new Passes<>(new DoubleKernels()));

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
    @Nullable Tensor[] used = {x, residual, y, runningMean, runningVar, weight, bias};
    InUse.acquire(used);
    try {
      passes(problem)
          .inference(problem, x, residual, y, runningMean, runningVar, weight, bias, eps);
    } finally {
      InUse.release(used);
    }
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
    Tensor mean = saved.mean();
    Tensor meanLow = saved.meanLow();
    Tensor invStd = saved.invStd();
    @Nullable Tensor[] used = {
      x, residual, y, weight, bias, mean, meanLow, invStd, runningMean, runningVar
    };
    InUse.acquire(used);
    try {
      passes(problem)
          .training(
              problem, x, residual, y, weight, bias, eps, saved, runningMean, runningVar, momentum);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void backwardTraining(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      SavedStatistics saved,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Tensor mean = saved.mean();
    Tensor meanLow = saved.meanLow();
    Tensor invStd = saved.invStd();
    @Nullable Tensor[] used = {
      dy, x, y, weight, bias, mean, meanLow, invStd, dx, dresidual, dweight, dbias
    };
    InUse.acquire(used);
    try {
      passes(problem)
          .backwardTraining(problem, dy, x, y, weight, bias, saved, dx, dresidual, dweight, dbias);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void backwardInference(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      Tensor runningMean,
      Tensor runningVar,
      double eps,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    @Nullable Tensor[] used = {
      dy, x, y, weight, bias, runningMean, runningVar, dx, dresidual, dweight, dbias
    };
    InUse.acquire(used);
    try {
      passes(problem)
          .backwardInference(
              problem,
              dy,
              x,
              y,
              weight,
              bias,
              runningMean,
              runningVar,
              eps,
              dx,
              dresidual,
              dweight,
              dbias);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void statistics(Problem problem, Tensor x, Tensor mean, Tensor m2) {
    @Nullable Tensor[] used = {x, mean, m2};
    InUse.acquire(used);
    try {
      passes(problem).statistics(problem, x, mean, m2);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void normalize(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      SavedStatistics given,
      @Nullable Tensor weight,
      @Nullable Tensor bias) {
    @Nullable Tensor[] used = {
      x, residual, y, weight, bias, given.mean(), given.meanLow(), given.invStd()
    };
    InUse.acquire(used);
    try {
      passes(problem).normalize(problem, x, residual, y, given, weight, bias);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void gradientSums(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      SavedStatistics given,
      Tensor sumDy,
      Tensor dot) {
    @Nullable Tensor[] used = {dy, x, y, given.mean(), given.meanLow(), given.invStd(), sumDy, dot};
    InUse.acquire(used);
    try {
      passes(problem).gradientSums(problem, dy, x, y, given, sumDy, dot);
    } finally {
      InUse.release(used);
    }
  }

  @Override
  public void inputGradient(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      SavedStatistics given,
      Tensor sumDy,
      Tensor dot,
      long count,
      Tensor dx,
      @Nullable Tensor dresidual) {
    @Nullable Tensor[] used = {
      dy, x, y, weight, given.mean(), given.meanLow(), given.invStd(), sumDy, dot, dx, dresidual
    };
    InUse.acquire(used);
    try {
      passes(problem)
          .inputGradient(problem, dy, x, y, weight, given, sumDy, dot, count, dx, dresidual);
    } finally {
      InUse.release(used);
    }
  }

  private Passes<?> passes(Problem problem) {
    return problem.dtype() == DType.F64 ? doubles.get() : floats.get();
  }
}
