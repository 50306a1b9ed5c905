package org.batchnorm4j.nn.functional;

import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkApart;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkLike;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkPerChannel;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkSameOrApart;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkSaved;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.checkShapeAndType;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.closeCopy;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.isLaidOutLike;
import static org.batchnorm4j.nn.functional.BatchNormFunctions.problem;

import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.Problem;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.stats.ChannelStatistics;
import org.batchnorm4j.stats.GradientSums;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * The arithmetic of {@code torch.nn.SyncBatchNorm}: several workers, each with a part of the batch,
 * normalize as one would with all of it. How they exchange two small objects is theirs to arrange.
 *
 * <pre>{@code
 * // On every worker, with its own x and dy:
 * ChannelStatistics mine = ChannelStatistics.of(x);
 * ChannelStatistics all = ...;                       // everyone's, merged in the same order
 * syncBatchNorm(x, all, weight, bias, eps, saved, y);
 * all.updateRunningStats(runningMean, runningVar, momentum);
 *
 * GradientSums sums = syncBatchNormGradientSums(dy, x, saved);
 * GradientSums allSums = ...;                        // likewise
 * syncBatchNormBackward(dy, x, weight, saved, allSums, dx);
 * syncBatchNormParameterGradients(allSums, saved, dweight, dbias);
 * }</pre>
 *
 * <p>Shapes, types, memory, errors and threads are as in {@link BatchNormFunctions}; a worker's
 * part may be empty, or one value per channel. Each call allocates some numbers per channel, and a
 * copy of a {@code dy} in another memory format than {@code x}.
 */
public final class SyncBatchNormFunctions {
  private SyncBatchNormFunctions() {}

  /** {@link #syncBatchNorm} on {@link Backends#best()}. */
  public static Tensor syncBatchNorm(
      Tensor x,
      ChannelStatistics statistics,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      SavedStatistics saved,
      Tensor out) {
    return syncBatchNorm(x, statistics, weight, bias, eps, Backends.best(), saved, out);
  }

  /**
   * {@code out = (x - mean) * (weight / sqrt(var + eps)) + bias} with the mean and the biased
   * variance of the whole batch.
   *
   * @param statistics of the whole batch, {@code x} included: at least two values per channel
   * @param weight null for 1
   * @param bias null for 0
   * @param eps &gt; 0
   * @param saved what the backward needs of the batch; overwritten
   * @param out may be {@code x}, but then there is no backward
   * @return {@code out}
   */
  public static Tensor syncBatchNorm(
      Tensor x,
      ChannelStatistics statistics,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      double eps,
      BatchNormBackend backend,
      SavedStatistics saved,
      Tensor out) {
    Problem problem = problem(x, Activation.NONE);
    checkChannels("statistics", statistics.channels(), problem);
    if (statistics.count() < 2 || statistics.count() < problem.valuesPerChannel()) {
      throw new IllegalArgumentException(
          "Expected more than 1 value per channel when training, and statistics that include x: got"
              + " input size torch.Size("
              + x.shape()
              + ") and statistics of "
              + statistics.count()
              + " values");
    }
    if (!(eps > 0)) {
      throw new IllegalArgumentException(
          "batch_norm eps must be positive during training, but got " + eps);
    }
    checkPerChannel("weight", weight, problem);
    checkPerChannel("bias", bias, problem);
    checkSaved(saved, problem);
    checkLike("out", out, x);
    checkSameOrApart("out", out, "x", x);
    checkApart("out", out, "weight", weight);
    checkApart("out", out, "bias", bias);
    checkSavedApart("saved.mean", saved.mean(), x, weight, bias, out);
    checkSavedApart("saved.meanLow", saved.meanLow(), x, weight, bias, out);
    checkSavedApart("saved.invStd", saved.invStd(), x, weight, bias, out);
    statistics.save(eps, saved);
    if (x.size() > 0) {
      backend.normalize(problem, x, null, out, saved, weight, bias);
    }
    return out;
  }

  /** {@link #syncBatchNormGradientSums} on {@link Backends#best()}. */
  public static GradientSums syncBatchNormGradientSums(Tensor dy, Tensor x, SavedStatistics saved) {
    return syncBatchNormGradientSums(dy, x, saved, Backends.best());
  }

  /**
   * The part of a worker in the sums over the whole batch.
   *
   * @param dy the gradient of the forward's output. In another memory format than {@code x} it is
   *     first copied into {@code x}'s
   * @param x the forward's input, unchanged
   * @param saved what the forward left
   */
  public static GradientSums syncBatchNormGradientSums(
      Tensor dy, Tensor x, SavedStatistics saved, BatchNormBackend backend) {
    Problem problem = problem(x, Activation.NONE);
    checkShapeAndType("dy", dy, x);
    checkSaved(saved, problem);
    Tensor gradient = isLaidOutLike(x, dy, problem) ? dy : dy.to(x.format());
    try (Tensor sumDy = Tensor.zeros(DType.F64, problem.c());
        Tensor dot = Tensor.zeros(DType.F64, problem.c())) {
      if (x.size() > 0) {
        backend.gradientSums(problem, gradient, x, null, saved, sumDy, dot);
      }
      return new GradientSums(
          problem.valuesPerChannel(), sumDy.toDoubleArray(), dot.toDoubleArray());
    } finally {
      closeCopy(gradient, dy);
    }
  }

  /** {@link #syncBatchNormBackward} on {@link Backends#best()}. */
  public static Tensor syncBatchNormBackward(
      Tensor dy,
      Tensor x,
      @Nullable Tensor weight,
      SavedStatistics saved,
      GradientSums sums,
      Tensor dx) {
    return syncBatchNormBackward(dy, x, weight, saved, sums, Backends.best(), dx);
  }

  /**
   * The gradient of a worker's input.
   *
   * @param dy as in {@link #syncBatchNormGradientSums}, like {@code x} and {@code saved}
   * @param weight as in the forward
   * @param sums of the whole batch, {@code dy} included
   * @param dx of {@code x}'s shape, type and memory format; may be {@code dy} or {@code x}
   * @return {@code dx}
   */
  public static Tensor syncBatchNormBackward(
      Tensor dy,
      Tensor x,
      @Nullable Tensor weight,
      SavedStatistics saved,
      GradientSums sums,
      BatchNormBackend backend,
      Tensor dx) {
    Problem problem = problem(x, Activation.NONE);
    checkShapeAndType("dy", dy, x);
    checkSaved(saved, problem);
    checkPerChannel("weight", weight, problem);
    checkChannels("sums", sums.channels(), problem);
    if (sums.count() < problem.valuesPerChannel()) {
      throw new IllegalArgumentException(
          "sums are of "
              + sums.count()
              + " values per channel, but x alone has "
              + problem.valuesPerChannel()
              + ": merge those of all workers");
    }
    checkLike("dx", dx, x);
    checkSameOrApart("dx", dx, "dy", dy);
    checkSameOrApart("dx", dx, "x", x);
    checkApart("dx", dx, "weight", weight);
    checkApart("dx", dx, "saved.mean", saved.mean());
    checkApart("dx", dx, "saved.meanLow", saved.meanLow());
    checkApart("dx", dx, "saved.invStd", saved.invStd());
    if (x.size() == 0) {
      return dx;
    }
    Tensor gradient = isLaidOutLike(x, dy, problem) ? dy : dy.to(x.format());
    try (Tensor sumDy = Tensor.of(sums.sumDy(), problem.c());
        Tensor dot = Tensor.of(sums.dot(), problem.c())) {
      backend.inputGradient(
          problem, gradient, x, null, weight, saved, sumDy, dot, sums.count(), dx, null);
    } finally {
      closeCopy(gradient, dy);
    }
    return dx;
  }

  /**
   * The gradients of weight and bias.
   *
   * @param sums of the whole batch, for its gradients; or a worker's own, for its part in them, as
   *     PyTorch has it, where the data parallelism around it adds them up
   * @param saved what the forward left
   * @param dweight C elements of the parameters' type; null when not wanted, like {@code dbias}
   */
  public static void syncBatchNormParameterGradients(
      GradientSums sums, SavedStatistics saved, @Nullable Tensor dweight, @Nullable Tensor dbias) {
    checkGradient("saved.invStd", saved.invStd(), sums, saved);
    checkGradient("dweight", dweight, sums, saved);
    checkGradient("dbias", dbias, sums, saved);
    checkApart("dweight", dweight, "saved.invStd", saved.invStd());
    checkApart("dbias", dbias, "saved.invStd", saved.invStd());
    checkApart("dbias", dbias, "dweight", dweight);
    if (dbias != null) {
      dbias.copyFrom(sums.sumDy());
    }
    if (dweight != null) {
      double[] gradient = sums.dot();
      double[] invStd = saved.invStd().toDoubleArray();
      for (int c = 0; c < gradient.length; c++) {
        gradient[c] *= invStd[c];
      }
      dweight.copyFrom(gradient);
    }
  }

  private static void checkChannels(String name, int channels, Problem problem) {
    if (channels != problem.c()) {
      throw new IllegalArgumentException(
          name + " are of " + channels + " channels, but x has " + problem.c());
    }
  }

  private static void checkSavedApart(
      String name,
      Tensor saved,
      Tensor x,
      @Nullable Tensor weight,
      @Nullable Tensor bias,
      Tensor out) {
    checkApart(name, saved, "x", x);
    checkApart(name, saved, "weight", weight);
    checkApart(name, saved, "bias", bias);
    checkApart(name, saved, "out", out);
  }

  private static void checkGradient(
      String name, @Nullable Tensor gradient, GradientSums sums, SavedStatistics saved) {
    if (gradient == null) {
      return;
    }
    BatchNormFunctions.checkOpen(name, gradient);
    if (gradient.size() != sums.channels()) {
      throw new IllegalArgumentException(
          name + " should contain " + sums.channels() + " elements not " + gradient.size());
    }
    if (gradient.dtype() != saved.invStd().dtype()) {
      throw new IllegalArgumentException(
          name
              + " is "
              + gradient.dtype()
              + ", expected the type of saved, "
              + saved.invStd().dtype());
    }
  }
}
