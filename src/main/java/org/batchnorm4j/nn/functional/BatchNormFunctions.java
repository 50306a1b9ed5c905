package org.batchnorm4j.nn.functional;

import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Batch normalization as in {@code torch.nn.functional.batch_norm}, forward and backward, with an
 * optional residual and activation in the same pass. The only place where its arguments are
 * checked.
 *
 * <p><b>Shapes.</b> {@code x} is (N, C, ...), at least two dimensions, of type F32, F64, BF16 or
 * F16 and in either memory format; channel and sample slices are fine. {@code out}, {@code
 * residual}, {@code dx} and {@code dresidual} have {@code x}'s shape, type and memory format.
 * Weights, biases, statistics and their gradients are contiguous tensors of C elements in {@code
 * x.dtype().parameterType()}.
 *
 * <p><b>Memory.</b> {@code out} may be exactly the memory of {@code x} or {@code residual}, and
 * {@code dx} or {@code dresidual} exactly that of {@code dy}, {@code x} or {@code y}; or other
 * channels of a tensor that those are slices of. Otherwise an output shares memory with nothing.
 * One tensor may serve as several of the per-channel inputs.
 *
 * <p><b>Empty input</b> (N, C or a spatial dimension is 0) is legal: forwards change nothing,
 * backwards set the parameters' gradients to 0.
 *
 * <p><b>Errors.</b> A bad argument is an {@link IllegalArgumentException}, a closed tensor an
 * {@link IllegalStateException}; both name the argument. Everything is checked before anything is
 * written.
 *
 * <p>Thread-safe, as long as no other call writes the same tensors. No call allocates more than a
 * small record, with one exception: a {@code dy} in another memory format than {@code x}.
 */
public final class BatchNormFunctions {
  private BatchNormFunctions() {}

  /** {@link #batchNormInference} without residual and activation, on {@link Backends#best()}. */
  public static Tensor batchNormInference(
      Tensor x,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      Tensor out) {
    return batchNormInference(
        x, null, runningMean, runningVar, weight, bias, eps, Activation.NONE, Backends.best(), out);
  }

  /**
   * Normalizes with given statistics: {@code out = act((x - runningMean) * (weight /
   * sqrt(runningVar + eps)) + bias + residual)}.
   *
   * @param residual added before the activation, or null
   * @param weight null for 1
   * @param bias null for 0
   * @param eps &gt;= 0
   * @return {@code out}
   */
  public static Tensor batchNormInference(
      Tensor x,
      @Nullable Tensor residual,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      Activation activation,
      BatchNormBackend backend,
      Tensor out) {
    Problem problem = problem(x, activation);
    checkInferenceEps(eps);
    checkRunning(problem, runningMean, runningVar);
    checkPerChannel("weight", weight, problem);
    checkPerChannel("bias", bias, problem);
    checkLike("residual", residual, x);
    checkLike("out", out, x);
    checkSameOrApart("out", out, "x", x);
    checkSameOrApart("out", out, "residual", residual);
    checkApart("out", out, "running_mean", runningMean);
    checkApart("out", out, "running_var", runningVar);
    checkApart("out", out, "weight", weight);
    checkApart("out", out, "bias", bias);
    if (x.size() > 0) {
      backend.inference(problem, x, residual, out, runningMean, runningVar, weight, bias, eps);
    }
    return out;
  }

  /** {@link #batchNormTraining} without residual and activation, on {@link Backends#best()}. */
  public static Tensor batchNormTraining(
      Tensor x,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double momentum,
      double eps,
      SavedStatistics saved,
      Tensor out) {
    return batchNormTraining(
        x,
        null,
        runningMean,
        runningVar,
        weight,
        bias,
        momentum,
        eps,
        Activation.NONE,
        Backends.best(),
        saved,
        out);
  }

  /**
   * Normalizes with the batch's own mean and biased variance: {@code out = act((x - mean) * (weight
   * / sqrt(var + eps)) + bias + residual)}. Then {@code running = momentum * batch + (1 - momentum)
   * * running}, with the unbiased variance. An empty batch leaves the statistics, {@code saved}
   * included, as they are.
   *
   * @param x at least two values per channel, or none
   * @param residual added before the activation, or null
   * @param runningMean null when not tracked, like {@code runningVar}
   * @param weight null for 1; it may be the memory of a running statistic, which is written last
   * @param bias null for 0; as {@code weight}
   * @param momentum the weight of the new value, finite
   * @param eps &gt; 0
   * @param saved what {@link #batchNormBackwardTraining} needs of the batch; overwritten
   * @return {@code out}
   */
  public static Tensor batchNormTraining(
      Tensor x,
      @Nullable Tensor residual,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double momentum,
      double eps,
      Activation activation,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    Problem problem = problem(x, activation);
    checkBatch(x.shape());
    if (!(eps > 0)) {
      throw new IllegalArgumentException(
          "batch_norm eps must be positive during training, but got " + eps);
    }
    checkTracking(problem, momentum, runningMean, runningVar);
    checkPerChannel("weight", weight, problem);
    checkPerChannel("bias", bias, problem);
    checkSaved(saved, problem);
    checkLike("residual", residual, x);
    checkLike("out", out, x);

    checkSameOrApart("out", out, "x", x);
    checkSameOrApart("out", out, "residual", residual);
    checkApart("out", out, "weight", weight);
    checkApart("out", out, "bias", bias);
    checkStatisticApart("running_mean", runningMean, x, residual, out, weight, bias);
    checkStatisticApart("running_var", runningVar, x, residual, out, weight, bias);
    checkApart("running_var", runningVar, "running_mean", runningMean);
    Tensor mean = saved.mean();
    Tensor meanLow = saved.meanLow();
    Tensor invStd = saved.invStd();
    checkSavedApart("saved.mean", mean, x, residual, out, weight, bias, runningMean, runningVar);
    checkSavedApart(
        "saved.meanLow", meanLow, x, residual, out, weight, bias, runningMean, runningVar);
    checkSavedApart(
        "saved.invStd", invStd, x, residual, out, weight, bias, runningMean, runningVar);
    checkApart("saved.meanLow", meanLow, "saved.mean", mean);
    checkApart("saved.invStd", invStd, "saved.mean", mean);
    checkApart("saved.invStd", invStd, "saved.meanLow", meanLow);
    if (x.size() > 0) {
      backend.training(
          problem, x, residual, out, weight, bias, eps, saved, runningMean, runningVar, momentum);
    }
    return out;
  }

  /**
   * The gradients of {@link #batchNormTraining}, each where it is wanted: {@code dx} of {@code x},
   * {@code dresidual} of {@code residual}, {@code dweight} and {@code dbias}; null where not.
   *
   * @param dy the gradient of {@code out}, of {@code x}'s shape and type. In another memory format
   *     it is first copied into {@code x}'s, which allocates
   * @param x the forward's input, unchanged
   * @param y the forward's output, unchanged, where there was an activation: its sign is the mask.
   *     Null where there was none; it may be null too where there was no residual, and so no {@code
   *     dresidual} is wanted: then the mask is computed again from {@code x}, to the same bits, and
   *     a third less memory is read
   * @param weight as in the forward, like {@code bias}, which is read for a mask without {@code y}
   * @param saved what the forward left
   */
  public static void batchNormBackwardTraining(
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      SavedStatistics saved,
      Activation activation,
      BatchNormBackend backend,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Problem problem = problem(x, activation);
    checkSaved(saved, problem);
    checkBackward(problem, dy, x, y, weight, bias, dx, dresidual, dweight, dbias);
    checkGradientsApart("saved.mean", saved.mean(), dx, dresidual, dweight, dbias);
    checkGradientsApart("saved.meanLow", saved.meanLow(), dx, dresidual, dweight, dbias);
    checkGradientsApart("saved.invStd", saved.invStd(), dx, dresidual, dweight, dbias);
    if (x.size() == 0) {
      zero(dweight, dbias);
      return;
    }
    Tensor gradient = isLaidOutLike(x, dy, problem) ? dy : dy.to(x.format());
    try {
      backend.backwardTraining(
          problem, gradient, x, y, weight, bias, saved, dx, dresidual, dweight, dbias);
    } finally {
      closeCopy(gradient, dy);
    }
  }

  /**
   * The gradients of {@link #batchNormInference}, whose statistics are constants. Parameters as in
   * {@link #batchNormBackwardTraining}.
   */
  public static void batchNormBackwardInference(
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      Tensor runningMean,
      Tensor runningVar,
      double eps,
      Activation activation,
      BatchNormBackend backend,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    Problem problem = problem(x, activation);
    checkInferenceEps(eps);
    checkRunning(problem, runningMean, runningVar);
    checkBackward(problem, dy, x, y, weight, bias, dx, dresidual, dweight, dbias);
    checkGradientsApart("running_mean", runningMean, dx, dresidual, dweight, dbias);
    checkGradientsApart("running_var", runningVar, dx, dresidual, dweight, dbias);
    if (x.size() == 0) {
      zero(dweight, dbias);
      return;
    }
    Tensor gradient = isLaidOutLike(x, dy, problem) ? dy : dy.to(x.format());
    try {
      backend.backwardInference(
          problem,
          gradient,
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
      closeCopy(gradient, dy);
    }
  }

  // --------------------------------------------- checks, for the other functions of the package
  // too

  static Problem problem(Tensor x, Activation activation) {
    checkOpen("x", x);
    Shape shape = x.shape();
    int rank = shape.rank();
    if (rank < 2) {
      throw new IllegalArgumentException(
          "Expected at least 2 input dimensions, but got "
              + rank
              + ": x must be (N, C, ...), but has"
              + " shape "
              + shape);
    }
    if (x.dtype() == DType.I64) {
      throw new IllegalArgumentException(
          "\"batch_norm\" not implemented for 'Long': x must be F32, F64, BF16 or F16, but is I64");
    }
    return Problem.of(x, activation);
  }

  static boolean isLaidOutLike(Tensor x, Tensor dy, Problem problem) {
    return dy.format() == x.format() || problem.s() == 1;
  }

  /** Closes what {@link #isLaidOutLike} made necessary. */
  static void closeCopy(Tensor copy, Tensor of) {
    if (copy != of) {
      copy.close();
    }
  }

  private static void checkInferenceEps(double eps) {
    if (!(eps >= 0)) {
      throw new IllegalArgumentException("batch_norm eps must be non-negative, but got " + eps);
    }
  }

  static void checkOpen(String name, Tensor t) {
    if (t.isClosed()) {
      throw new IllegalStateException(name + " is closed; its memory has been given back");
    }
    t.checkUsable();
  }

  /** Checks the running statistics that a training forward updates, or does without. */
  static void checkTracking(
      Problem problem, double momentum, @Nullable Tensor runningMean, @Nullable Tensor runningVar) {
    if (!Double.isFinite(momentum)) {
      throw new IllegalArgumentException("momentum must be finite, but got " + momentum);
    }
    if ((runningMean == null) != (runningVar == null)) {
      throw new IllegalArgumentException(
          (runningMean == null ? "running_mean" : "running_var")
              + " is null, but the other running statistic is not: give both, or none to track"
              + " nothing");
    }
    checkPerChannel("running_mean", runningMean, problem);
    checkPerChannel("running_var", runningVar, problem);
  }

  private static void checkRunning(
      Problem problem, @Nullable Tensor runningMean, @Nullable Tensor runningVar) {
    if (runningMean == null || runningVar == null) {
      throw new IllegalArgumentException(
          (runningMean == null ? "running_mean" : "running_var")
              + " must be defined in evaluation mode, but is null; batchNormTraining takes the"
              + " batch's own statistics");
    }
    checkPerChannel("running_mean", runningMean, problem);
    checkPerChannel("running_var", runningVar, problem);
  }

  /**
   * Checks that a batch of this shape can be normalized with its own statistics.
   *
   * @throws IllegalArgumentException if it has one value per channel
   */
  public static void checkBatch(Shape x) {
    long values = 1;
    for (int i = 0; i < x.rank(); i++) {
      values *= i == 1 ? 1 : x.dim(i);
    }
    if (values == 1) {
      throw new IllegalArgumentException(
          "Expected more than 1 value per channel when training, got input size torch.Size("
              + x
              + ")");
    }
  }

  static void checkSaved(SavedStatistics saved, Problem problem) {
    checkPerChannel("saved.mean", saved.mean(), problem);
    checkPerChannel("saved.meanLow", saved.meanLow(), problem);
    checkPerChannel("saved.invStd", saved.invStd(), problem);
  }

  static void checkPerChannel(String name, @Nullable Tensor t, Problem problem) {
    if (t == null) {
      return;
    }
    checkOpen(name, t);
    if (t.size() != problem.c()) {
      throw new IllegalArgumentException(
          name + " should contain " + problem.c() + " elements not " + t.size());
    }
    DType expected = problem.dtype().parameterType();
    if (t.dtype() != expected) {
      String torch =
          problem.dtype() == DType.F64
              ? "all inputs must share same datatype"
              : "expect parameter to have scalar type of Float";
      throw new IllegalArgumentException(
          "mixed dtype (CPU): "
              + torch
              + ". x is "
              + problem.dtype()
              + ", which needs "
              + name
              + " in "
              + expected
              + ", but it is "
              + t.dtype()
              + ": convert x or "
              + name
              + " with to(DType)");
    }
    if (!t.isContiguous()) {
      throw new IllegalArgumentException(
          name + " must be contiguous, but is a slice with gaps: copy it with to(CHANNELS_FIRST)");
    }
  }

  static void checkLike(String name, @Nullable Tensor t, Tensor x) {
    if (t == null) {
      return;
    }
    checkShapeAndType(name, t, x);
    if (t.format() != x.format()) {
      throw new IllegalArgumentException(
          name
              + " is "
              + t.format()
              + ", but x is "
              + x.format()
              + ": both must have one memory format; convert one with to(MemoryFormat)");
    }
  }

  static void checkShapeAndType(String name, Tensor t, Tensor x) {
    checkOpen(name, t);
    if (!t.shape().equals(x.shape())) {
      throw new IllegalArgumentException(
          name + " has shape " + t.shape() + ", expected that of x, " + x.shape());
    }
    if (t.dtype() != x.dtype()) {
      throw new IllegalArgumentException(
          name + " is " + t.dtype() + ", expected the type of x, " + x.dtype());
    }
  }

  private static void checkBackward(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    checkShapeAndType("dy", dy, x);
    boolean masked = problem.activation().kind() != Activation.Kind.NONE;
    if (masked && y == null && dresidual != null) {
      throw new IllegalArgumentException(
          "y must be the forward's output, but is null: with a residual, whose gradient dresidual"
              + " is, the mask of "
              + problem.activation().kind()
              + " is read from it");
    }
    if (!masked && y != null) {
      throw new IllegalArgumentException(
          "y must be null: there is no activation whose mask is read from it");
    }
    checkLike("y", y, x);
    checkPerChannel("weight", weight, problem);
    checkPerChannel("bias", bias, problem);
    checkLike("dx", dx, x);
    checkLike("dresidual", dresidual, x);
    checkPerChannel("dweight", dweight, problem);
    checkPerChannel("dbias", dbias, problem);

    checkSameOrApart("dx", dx, "dy", dy);
    checkSameOrApart("dx", dx, "x", x);
    checkSameOrApart("dx", dx, "y", y);
    checkSameOrApart("dresidual", dresidual, "dy", dy);
    checkSameOrApart("dresidual", dresidual, "x", x);
    checkSameOrApart("dresidual", dresidual, "y", y);
    checkApart("dresidual", dresidual, "dx", dx);
    checkGradientsApart("weight", weight, dx, dresidual, dweight, dbias);
    checkGradientsApart("bias", bias, dx, dresidual, dweight, dbias);
    checkStatisticGradientApart("dweight", dweight, dy, x, y, dx, dresidual);
    checkStatisticGradientApart("dbias", dbias, dy, x, y, dx, dresidual);
    checkApart("dbias", dbias, "dweight", dweight);
  }

  private static void checkStatisticApart(
      String name,
      @Nullable Tensor statistic,
      Tensor x,
      @Nullable Tensor residual,
      Tensor out,
      @Nullable Tensor weight,
      @Nullable Tensor bias) {
    checkApart(name, statistic, "x", x);
    checkApart(name, statistic, "residual", residual);
    checkApart(name, statistic, "out", out);
    checkSameOrApart(name, statistic, "weight", weight);
    checkSameOrApart(name, statistic, "bias", bias);
  }

  private static void checkSavedApart(
      String name,
      Tensor saved,
      Tensor x,
      @Nullable Tensor residual,
      Tensor out,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      @Nullable Tensor runningMean,
      @Nullable Tensor runningVar) {
    checkApart(name, saved, "x", x);
    checkApart(name, saved, "residual", residual);
    checkApart(name, saved, "out", out);
    checkApart(name, saved, "weight", weight);
    checkApart(name, saved, "bias", bias);
    checkApart(name, saved, "running_mean", runningMean);
    checkApart(name, saved, "running_var", runningVar);
  }

  private static void checkGradientsApart(
      String name,
      @Nullable Tensor input,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweight,
      @Nullable Tensor dbias) {
    checkApart("dx", dx, name, input);
    checkApart("dresidual", dresidual, name, input);
    checkApart("dweight", dweight, name, input);
    checkApart("dbias", dbias, name, input);
  }

  private static void checkStatisticGradientApart(
      String name,
      @Nullable Tensor gradient,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual) {
    checkApart(name, gradient, "dy", dy);
    checkApart(name, gradient, "x", x);
    checkApart(name, gradient, "y", y);
    checkApart(name, gradient, "dx", dx);
    checkApart(name, gradient, "dresidual", dresidual);
  }

  static void checkSameOrApart(
      String outputName, @Nullable Tensor output, String inputName, @Nullable Tensor input) {
    checkWritable(outputName, output);
    if (output != null
        && input != null
        && output.overlaps(input)
        && !output.isSameMemory(input)
        && !output.isBeside(input)) {
      throw new IllegalArgumentException(
          outputName
              + " overlaps "
              + inputName
              + " in part; it must be exactly the same memory, or other memory");
    }
  }

  static void checkApart(
      String outputName, @Nullable Tensor output, String otherName, @Nullable Tensor other) {
    checkWritable(outputName, output);
    if (output != null && other != null && output.overlaps(other)) {
      throw new IllegalArgumentException(
          outputName + " shares memory with " + otherName + "; it must have memory of its own");
    }
  }

  private static void checkWritable(String name, @Nullable Tensor output) {
    if (output != null && output.isReadOnly()) {
      throw new IllegalArgumentException(
          name + " wraps memory that is read-only; it must be writable");
    }
  }

  static void zero(@Nullable Tensor dweight, @Nullable Tensor dbias) {
    if (dweight != null) {
      dweight.fill(0);
    }
    if (dbias != null) {
      dbias.fill(0);
    }
  }
}
