package org.batchnorm4j.backend;

import java.util.Arrays;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * The four operations for one type of the arithmetic, for one thread at a time: what is reduced,
 * and what is computed from the sums. {@link Chunks}, {@link BlockReader} and {@link Strips} know
 * where values lie, {@link Kernels} loop over them. All memory is scratch that only grows, and
 * grows before the first output is written.
 *
 * <p>Per-channel inputs are read first and per-channel outputs written last, so that they may share
 * memory.
 *
 * @param <A> the array type
 */
final class Passes<A> {
  private final Kernels<A> kernels;
  private final Chunks chunks = new Chunks();
  private final ChunkSums sums = new ChunkSums();
  private final ChannelMoments moments = new ChannelMoments();
  private final ChannelGradients gradients = new ChannelGradients();
  private final BlockReader<A> reader;
  private final Strips<A> strips;

  /** Blocks being reduced. */
  private final A[] xRows;

  private final A[] gRows;
  private final A[] yRows;
  private final A rowSign;
  private final A rowMean;
  private final A rowMeanLow;
  private final A rowScale;
  private final A rowBias;

  /** Blocks of strips: data, and per-channel values laid out like them. */
  private final A data;

  private final A moreData;
  private final A maskData;
  private final A stripMean;
  private final A stripMeanLow;
  private final A stripScale;
  private final A stripBias;
  private final A stripC1;
  private final A stripMinusC2;

  /** One value per channel. */
  private A mean;

  private A meanLow;
  private A invStd;
  private A weight;
  private A bias;
  private A scale;
  private A runningMean;
  private A runningVar;
  private A c1;
  private A minusC2;
  private A dweight;
  private A dbias;

  Passes(Kernels<A> kernels) {
    this.kernels = kernels;
    reader = new BlockReader<>(kernels);
    strips = new Strips<>(kernels);
    xRows = kernels.allocateRows(Chunks.ROWS);
    gRows = kernels.allocateRows(Chunks.ROWS);
    yRows = kernels.allocateRows(Chunks.ROWS);
    rowSign = kernels.allocate(Chunks.LANES * Chunks.MAX_COLUMNS);
    rowMean = kernels.allocate(Chunks.LANES * Chunks.MAX_COLUMNS);
    rowMeanLow = kernels.allocate(Chunks.LANES * Chunks.MAX_COLUMNS);
    rowScale = kernels.allocate(Chunks.LANES * Chunks.MAX_COLUMNS);
    rowBias = kernels.allocate(Chunks.LANES * Chunks.MAX_COLUMNS);
    data = kernels.allocate(Strips.LENGTH);
    moreData = kernels.allocate(Strips.LENGTH);
    maskData = kernels.allocate(Strips.LENGTH);
    stripMean = kernels.allocate(Strips.LENGTH);
    stripMeanLow = kernels.allocate(Strips.LENGTH);
    stripScale = kernels.allocate(Strips.LENGTH);
    stripBias = kernels.allocate(Strips.LENGTH);
    stripC1 = kernels.allocate(Strips.LENGTH);
    stripMinusC2 = kernels.allocate(Strips.LENGTH);
    growChannels(0);
  }

  // -------------------------------------------------------------------------------------- forward

  void inference(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      Tensor runningMeanTensor,
      Tensor runningVarTensor,
      @Nullable Tensor weightTensor,
      @Nullable Tensor biasTensor,
      double eps) {
    if (problem.valuesPerChannel() == 0) {
      return;
    }
    int c = start(problem);
    readRunning(runningMeanTensor, runningVarTensor, eps, c);
    readScale(weightTensor, c);
    read(biasTensor, bias, 0, c);
    normalize(problem, x, residual, y, 0, c);
  }

  void training(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      @Nullable Tensor weightTensor,
      @Nullable Tensor biasTensor,
      double eps,
      SavedStatistics saved,
      @Nullable Tensor runningMeanTensor,
      @Nullable Tensor runningVarTensor,
      double momentum) {
    if (problem.valuesPerChannel() == 0) {
      return;
    }
    int c = start(problem);
    read(weightTensor, weight, 1, c);
    read(biasTensor, bias, 0, c);
    read(runningMeanTensor, runningMean, 0, c);
    read(runningVarTensor, runningVar, 0, c);
    moments.ensure(c);
    chunks.problem(problem);
    for (int from = 0; from < c; from += chunks.tile()) {
      int end = Math.min(c, from + chunks.tile());
      sumMoments(problem, x, from, end);
      finish(problem.valuesPerChannel(), eps, momentum, from, end);
      normalize(problem, x, residual, y, from, end);
    }
    write(saved.mean(), mean, c);
    write(saved.meanLow(), meanLow, c);
    write(saved.invStd(), invStd, c);
    write(runningMeanTensor, runningMean, c);
    write(runningVarTensor, runningVar, c);
  }

  /** The statistics alone: mean and sum of squared deviations, in f64. */
  void statistics(Problem problem, Tensor x, Tensor meanTensor, Tensor m2Tensor) {
    if (problem.valuesPerChannel() == 0) {
      return;
    }
    int channels = (int) problem.c();
    moments.ensure(channels);
    chunks.problem(problem);
    for (int from = 0; from < channels; from += chunks.tile()) {
      sumMoments(problem, x, from, Math.min(channels, from + chunks.tile()));
    }
    for (int c = 0; c < channels; c++) {
      moments.mean[c] = moments.first[c] + moments.mean[c];
    }
    TensorAccess.write(meanTensor, 0, moments.mean, 0, channels);
    TensorAccess.write(m2Tensor, 0, moments.m2, 0, channels);
  }

  /** The normalization alone, with given statistics. */
  void normalize(
      Problem problem,
      Tensor x,
      @Nullable Tensor residual,
      Tensor y,
      SavedStatistics given,
      @Nullable Tensor weightTensor,
      @Nullable Tensor biasTensor) {
    if (problem.valuesPerChannel() == 0) {
      return;
    }
    int c = start(problem);
    readSaved(given, c);
    readScale(weightTensor, c);
    read(biasTensor, bias, 0, c);
    normalize(problem, x, residual, y, 0, c);
  }

  private void sumMoments(Problem problem, Tensor x, int from, int end) {
    chunks.start(from, end);
    while (chunks.next()) {
      reader.read(problem, chunks, x, xRows);
      kernels.statistics(xRows, chunks, sums);
      moments.add(chunks, sums);
    }
  }

  /** From the moments of channels {@code from} to {@code end - 1} all that is saved of them. */
  private void finish(double values, double eps, double momentum, int from, int end) {
    for (int c = from; c < end; c++) {
      double k = moments.first[c];
      double m2 = moments.m2[c];
      double mean64 = k + moments.mean[c];
      double rounded = kernels.set(mean, c, mean64);
      kernels.set(meanLow, c, (k - rounded) + moments.mean[c]);
      double invStdOfC = kernels.set(invStd, c, 1 / Math.sqrt(m2 / values + eps));
      // In f64 the product of two f32 is exact, so that it is rounded once.
      kernels.set(scale, c, invStdOfC * kernels.get(weight, c));
      double oldMean = kernels.get(runningMean, c);
      double oldVar = kernels.get(runningVar, c);
      kernels.set(runningMean, c, Math.fma(momentum, mean64, (1 - momentum) * oldMean));
      kernels.set(runningVar, c, Math.fma(momentum, m2 / (values - 1), (1 - momentum) * oldVar));
    }
  }

  private void normalize(
      Problem problem, Tensor x, @Nullable Tensor residual, Tensor y, int from, int end) {
    strips.start(problem, from, end);
    while (strips.next()) {
      strips.spread(mean, stripMean);
      strips.spread(meanLow, stripMeanLow);
      strips.spread(scale, stripScale);
      strips.spread(bias, stripBias);
      for (long row = 0; row < strips.rows(); row += strips.group()) {
        int n = strips.read(x, row, data);
        kernels.normalize(data, stripMean, stripMeanLow, stripScale, stripBias, n);
        if (residual != null) {
          strips.read(residual, row, moreData);
          kernels.add(data, moreData, n);
        }
        kernels.activate(data, problem.activation(), n);
        strips.write(y, row, data);
      }
    }
  }

  // ------------------------------------------------------------------------------------- backward

  void backwardTraining(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weightTensor,
      @Nullable Tensor biasTensor,
      SavedStatistics saved,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweightTensor,
      @Nullable Tensor dbiasTensor) {
    int c = start(problem);
    readSaved(saved, c);
    readScale(weightTensor, c);
    read(biasTensor, bias, 0, c);
    boolean reduces = dx != null || dweightTensor != null || dbiasTensor != null;
    backward(problem, dy, x, y, true, reduces, dx, dresidual, dweightTensor, dbiasTensor);
  }

  void backwardInference(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weightTensor,
      @Nullable Tensor biasTensor,
      Tensor runningMeanTensor,
      Tensor runningVarTensor,
      double eps,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweightTensor,
      @Nullable Tensor dbiasTensor) {
    int c = start(problem);
    readRunning(runningMeanTensor, runningVarTensor, eps, c);
    readScale(weightTensor, c);
    read(biasTensor, bias, 0, c);
    boolean reduces = dweightTensor != null || dbiasTensor != null;
    backward(problem, dy, x, y, false, reduces, dx, dresidual, dweightTensor, dbiasTensor);
  }

  /** Of steps alone, which are not given what y was computed from. */
  private static void checkMask(Problem problem, @Nullable Tensor y) {
    if (isMasked(problem) && y == null) {
      throw new IllegalArgumentException(
          "y is null, but its signs mask dy in " + problem + ": give the forward's output");
    }
  }

  /** The sums alone, in f64. */
  void gradientSums(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      SavedStatistics given,
      Tensor sumDyTensor,
      Tensor dotTensor) {
    checkMask(problem, y);
    int channels = start(problem);
    gradients.ensure(channels);
    if (problem.valuesPerChannel() == 0) {
      Arrays.fill(gradients.sumDy, 0, channels, 0);
      Arrays.fill(gradients.dot, 0, channels, 0);
    } else {
      readSaved(given, channels);
      chunks.problem(problem);
      for (int from = 0; from < channels; from += chunks.tile()) {
        int end = Math.min(channels, from + chunks.tile());
        sumGradients(problem, dy, x, y, from, end);
      }
    }
    TensorAccess.write(sumDyTensor, 0, gradients.sumDy, 0, channels);
    TensorAccess.write(dotTensor, 0, gradients.dot, 0, channels);
  }

  /** The input's gradient alone, from given sums over {@code count} values per channel. */
  void inputGradient(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      @Nullable Tensor weightTensor,
      SavedStatistics given,
      Tensor sumDyTensor,
      Tensor dotTensor,
      long count,
      Tensor dx,
      @Nullable Tensor dresidual) {
    checkMask(problem, y);
    if (problem.valuesPerChannel() == 0) {
      return;
    }
    int channels = start(problem);
    readSaved(given, channels);
    readScale(weightTensor, channels);
    gradients.ensure(channels);
    TensorAccess.read(sumDyTensor, 0, gradients.sumDy, 0, channels);
    TensorAccess.read(dotTensor, 0, gradients.dot, 0, channels);
    finishGradients(count, 0, channels);
    propagate(problem, dy, x, y, true, dx, dresidual, 0, channels);
  }

  private void backward(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      boolean training,
      boolean reduces,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      @Nullable Tensor dweightTensor,
      @Nullable Tensor dbiasTensor) {
    int c = (int) problem.c();
    kernels.fill(dweight, 0, c, 0);
    kernels.fill(dbias, 0, c, 0);
    if (problem.valuesPerChannel() > 0) {
      gradients.ensure(c);
      chunks.problem(problem);
      for (int from = 0; from < c; from += chunks.tile()) {
        int end = Math.min(c, from + chunks.tile());
        if (reduces) {
          sumGradients(problem, dy, x, y, from, end);
          finishGradients(problem.valuesPerChannel(), from, end);
        }
        if (dx != null || dresidual != null) {
          propagate(problem, dy, x, y, training, dx, dresidual, from, end);
        }
      }
    }
    write(dweightTensor, dweight, c);
    write(dbiasTensor, dbias, c);
  }

  private void sumGradients(
      Problem problem, Tensor dy, Tensor x, @Nullable Tensor y, int from, int end) {
    chunks.start(from, end);
    while (chunks.next()) {
      reader.read(problem, chunks, dy, gRows);
      reader.read(problem, chunks, x, xRows);
      reader.spread(chunks, mean, rowMean);
      reader.spread(chunks, meanLow, rowMeanLow);
      if (isMasked(problem)) {
        maskRows(problem, y);
      }
      kernels.gradientSums(gRows, xRows, chunks, rowMean, rowMeanLow, sums);
      gradients.add(chunks, sums);
    }
  }

  private static boolean isMasked(Problem problem) {
    return problem.activation().kind() != Activation.Kind.NONE;
  }

  /** The largest output that is not positive: one computed again has yet to be rounded. */
  private static double zero(Problem problem, @Nullable Tensor y) {
    if (y != null) {
      return 0;
    }
    // Half of the least positive number, a tie, is stored as 0.
    return switch (problem.dtype()) {
      case BF16 -> 0x1p-134;
      case F16 -> 0x1p-25;
      default -> 0;
    };
  }

  /** Masks a block of gradients by {@code y}, or where there is none by x, normalized again. */
  private void maskRows(Problem problem, @Nullable Tensor y) {
    if (y != null) {
      reader.read(problem, chunks, y, yRows);
    } else {
      reader.spread(chunks, scale, rowScale);
      reader.spread(chunks, bias, rowBias);
    }
    int width = Chunks.LANES * chunks.columns();
    for (int row = 0; row * Chunks.LANES < chunks.length(); row++) {
      A signs = rowSign;
      if (y != null) {
        signs = yRows[row];
      } else {
        kernels.copy(xRows[row], 0, signs, 0, width);
        kernels.normalize(signs, rowMean, rowMeanLow, rowScale, rowBias, width);
      }
      kernels.mask(gRows[row], signs, zero(problem, y), problem.activation(), width);
    }
  }

  /** From the sums of channels {@code from} to {@code end - 1} all that is made of them. */
  private void finishGradients(double values, int from, int end) {
    for (int c = from; c < end; c++) {
      double sumDy = gradients.sumDy[c];
      double scaledDot = gradients.dot[c] * kernels.get(invStd, c);
      kernels.set(dbias, c, sumDy);
      kernels.set(dweight, c, scaledDot);
      kernels.set(c1, c, sumDy / values);
      double rounded = kernels.set(minusC2, c, scaledDot * kernels.get(invStd, c) / values);
      kernels.set(minusC2, c, -rounded);
    }
  }

  private void propagate(
      Problem problem,
      Tensor dy,
      Tensor x,
      @Nullable Tensor y,
      boolean training,
      @Nullable Tensor dx,
      @Nullable Tensor dresidual,
      int from,
      int end) {
    boolean usesX = training && dx != null;
    boolean masks = isMasked(problem);
    boolean masksByX = masks && y == null;
    strips.start(problem, from, end);
    while (strips.next()) {
      if (usesX || masksByX) {
        strips.spread(mean, stripMean);
        strips.spread(meanLow, stripMeanLow);
      }
      if (masksByX) {
        strips.spread(bias, stripBias);
      }
      if (usesX) {
        strips.spread(c1, stripC1);
        strips.spread(minusC2, stripMinusC2);
      }
      strips.spread(scale, stripScale);
      for (long row = 0; row < strips.rows(); row += strips.group()) {
        // All inputs before the first output, which may be one of them.
        int n = strips.read(dy, row, data);
        if (usesX) {
          strips.read(x, row, moreData);
        }
        if (masks) {
          strips.read(y == null ? x : y, row, maskData);
          if (masksByX) {
            kernels.normalize(maskData, stripMean, stripMeanLow, stripScale, stripBias, n);
          }
          kernels.mask(data, maskData, zero(problem, y), problem.activation(), n);
        }
        if (dresidual != null) {
          strips.write(dresidual, row, data);
        }
        if (dx == null) {
          continue;
        }
        if (training) {
          kernels.gradient(
              data, moreData, stripMean, stripMeanLow, stripC1, stripMinusC2, stripScale, n);
        } else {
          kernels.multiply(data, stripScale, n);
        }
        strips.write(dx, row, data);
      }
    }
  }

  // --------------------------------------------------------------------------- per-channel values

  private int start(Problem problem) {
    int c = (int) problem.c();
    if (kernels.length(mean) < c) {
      growChannels(c);
    }
    return c;
  }

  private void growChannels(int c) {
    mean = kernels.allocate(c);
    meanLow = kernels.allocate(c);
    invStd = kernels.allocate(c);
    weight = kernels.allocate(c);
    bias = kernels.allocate(c);
    scale = kernels.allocate(c);
    runningMean = kernels.allocate(c);
    runningVar = kernels.allocate(c);
    c1 = kernels.allocate(c);
    minusC2 = kernels.allocate(c);
    dweight = kernels.allocate(c);
    dbias = kernels.allocate(c);
  }

  private void read(@Nullable Tensor from, A to, double otherwise, int c) {
    if (from == null) {
      kernels.fill(to, 0, c, otherwise);
    } else {
      kernels.read(from, 0, to, 0, c);
    }
  }

  private void readSaved(SavedStatistics saved, int c) {
    read(saved.mean(), mean, 0, c);
    read(saved.meanLow(), meanLow, 0, c);
    read(saved.invStd(), invStd, 0, c);
  }

  private void readRunning(Tensor runningMeanTensor, Tensor runningVarTensor, double eps, int c) {
    read(runningMeanTensor, mean, 0, c);
    kernels.fill(meanLow, 0, c, 0);
    read(runningVarTensor, runningVar, 0, c);
    kernels.invStd(runningVar, eps, invStd, c);
  }

  private void readScale(@Nullable Tensor weightTensor, int c) {
    read(weightTensor, scale, 1, c);
    kernels.multiply(scale, invStd, c);
  }

  private void write(@Nullable Tensor to, A from, int c) {
    if (to != null) {
      kernels.write(to, 0, from, 0, c);
    }
  }
}
