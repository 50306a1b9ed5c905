package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The one seam between modules and arithmetic. Every implementation gives the same bits for the
 * same values, whatever the memory layout (docs/numerics.md).
 *
 * <p>Implementations trust their arguments: {@code nn.functional} has checked shapes, types,
 * formats and overlap. Only what would take native code beyond a tensor's memory they refuse. Data
 * tensors ({@code x, y, residual, dy, dx, dresidual}) hold {@code problem}'s values in its dtype;
 * per-channel tensors hold C values in the parameter type. Any of them may lie on the heap. An
 * output may be the very memory of an input ({@code y} of {@code x} or {@code residual}; {@code dx}
 * and {@code dresidual} of {@code dy}, {@code x} or {@code y}), or {@linkplain Tensor#isBeside
 * beside} it, but may not overlap it otherwise; one tensor may serve as several of the per-channel
 * inputs.
 *
 * <p>Thread-safe: calls on tensors that no other call writes may run at the same time. No call
 * allocates in steady state, but for one small object where data lies on the heap.
 */
public sealed interface BatchNormBackend permits NativeBackend, JavaBackend {

  /** {@code native} or {@code java}. */
  String name();

  /**
   * {@code y = act((x - runningMean) * (weight / sqrt(runningVar + eps)) + bias + residual)}.
   *
   * @param residual added before the activation, or null
   * @param weight null for 1
   * @param bias null for 0
   */
  void inference(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      Tensor runningMean,
      Tensor runningVar,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps);

  /**
   * {@code y = act((x - mean) * (weight / sqrt(var + eps)) + bias + residual)} with the batch's
   * mean and biased variance, which go to {@code saved}. The running statistics, where given, move
   * by {@code momentum} towards the mean and the unbiased variance, after {@code y} is written.
   *
   * <p>An empty batch (N * S = 0) changes nothing.
   *
   * @param runningMean null when not tracked, like {@code runningVar}
   * @param momentum the weight of the new value
   */
  void training(
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
      double momentum);

  /**
   * The gradients of {@link #training}.
   *
   * @param y the forward's output, from whose sign the activation's mask is read. Null where the
   *     problem has no activation; and where it had no residual and {@code dresidual} is null: then
   *     the mask is computed again, to the same bits, which reads a third less memory
   * @param weight the forward's, like {@code bias}, which is used for a mask without {@code y}
   * @param dx null when not wanted, like {@code dresidual}, {@code dweight} and {@code dbias}
   */
  void backwardTraining(
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
      @Nullable Tensor dbias);

  /** The gradients of {@link #inference}: the statistics are constants. */
  void backwardInference(
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
      @Nullable Tensor dbias);

  /**
   * The first step of {@link #training} alone, to be merged with that of other parts of a batch:
   * the mean and the sum of squared deviations from it of every channel. An empty batch writes
   * nothing.
   *
   * @param mean C values in f64, overwritten, like {@code m2}
   */
  void statistics(Problem problem, Tensor x, Tensor mean, Tensor m2);

  /**
   * The last step of {@link #training} alone: {@code y = act((x - mean) * (invStd * weight) + bias
   * + residual)} with given statistics.
   */
  void normalize(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      SavedStatistics given,
      @Nullable Tensor weight,
      @Nullable Tensor bias);

  /**
   * The first step of {@link #backwardTraining} alone: of every channel the sums of {@code g} and
   * of {@code g * (x - mean)}, where {@code g} is {@code dy} where the activation passed it on.
   *
   * @param y the forward's output where the problem has an activation
   * @param sumDy C values in f64, overwritten, like {@code dot}: with 0 where there are no values
   */
  void gradientSums(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      SavedStatistics given,
      Tensor sumDy,
      Tensor dot);

  /**
   * The last step of {@link #backwardTraining} alone: {@code dx} from sums over {@code count}
   * values per channel, which may be those of a larger batch.
   */
  void inputGradient(
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
      @Nullable Tensor dresidual);
}
