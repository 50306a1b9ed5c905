package org.batchnorm4j.nn;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.functional.BatchNormFunctions;
import org.batchnorm4j.nn.functional.SampleNormFunctions;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Normalization of each channel of each sample by itself, with the semantics of {@code
 * torch.nn.InstanceNorm1d}, {@code 2d} and {@code 3d}, which differ in the ranks they take and
 * nothing else. A single sample without its dimension N will do.
 *
 * <p>As in PyTorch there are no weight and bias and no running statistics unless asked for. Where
 * there are, training forwards move them towards the averages over the samples, but do not count
 * the batches; in evaluation mode they normalize.
 *
 * <p>Errors are as in {@link BatchNorm}. One thread at a time; for many, see {@link
 * SampleNormFunctions#instanceNorm}.
 */
public abstract sealed class InstanceNorm extends SampleNorm
    permits InstanceNorm1d, InstanceNorm2d, InstanceNorm3d {
  private final long numFeatures;
  private final int spatialDimensions;
  private final double momentum;
  private final @Nullable Running running;
  private final Map<String, Tensor> buffers;

  /** Whether the last forward took the running statistics. */
  private boolean lastByRunning;

  InstanceNorm(BatchNorm.Builder<?> builder, int spatialDimensions) {
    super(Shape.of(builder.numFeatures), builder.eps, builder.affine, true, builder.dtype);
    Double momentum = builder.momentum;
    if (momentum == null) {
      throw new IllegalArgumentException(
          "momentum must be a number, but is null: an instance norm has no average of all batches");
    }
    numFeatures = builder.numFeatures;
    this.spatialDimensions = spatialDimensions;
    this.momentum = momentum;
    Map<String, Tensor> buffers = new LinkedHashMap<>();
    if (builder.trackRunningStats) {
      running =
          new Running(
              Tensor.zeros(builder.dtype, numFeatures),
              Tensor.zeros(builder.dtype, numFeatures).fill(1));
      buffers.put("running_mean", running.mean);
      buffers.put("running_var", running.var);
      // Always 0, but in the state.
      buffers.put("num_batches_tracked", Tensor.scalar(0));
    } else {
      running = null;
    }
    this.buffers = Collections.unmodifiableMap(buffers);
  }

  private record Running(Tensor mean, Tensor var) {}

  static <T extends InstanceNorm> BatchNorm.Builder<T> withDefaults(BatchNorm.Builder<T> builder) {
    return builder.affine(false).trackRunningStats(false);
  }

  /** The number of channels, C. */
  public final long numFeatures() {
    return numFeatures;
  }

  /** The weight of a batch in the running statistics. */
  public final double momentum() {
    return momentum;
  }

  /** The running mean, of shape (C), live; null if built without running statistics. */
  public final @Nullable Tensor runningMean() {
    return running == null ? null : running.mean;
  }

  /** The running variance, of shape (C), live; null if built without running statistics. */
  public final @Nullable Tensor runningVar() {
    return running == null ? null : running.var;
  }

  /** Sets the running mean to 0 and the running variance to 1, where tracked. */
  public final void resetRunningStats() {
    if (running != null) {
      running.mean.fill(0);
      running.var.fill(1);
    }
  }

  /** {@link #resetRunningStats}, and weight to 1, bias to 0. */
  @Override
  public final void resetParameters() {
    resetRunningStats();
    super.resetParameters();
  }

  @Override
  protected final Map<String, Tensor> ownBuffers() {
    return buffers;
  }

  @Override
  public final Shape outputShape(Shape x) {
    boolean batched = x.rank() == spatialDimensions + 2;
    if (!batched && x.rank() != spatialDimensions + 1) {
      throw new IllegalArgumentException(
          "expected "
              + (spatialDimensions + 1)
              + "D or "
              + (spatialDimensions + 2)
              + "D input (got "
              + x.rank()
              + "D input): x has shape "
              + x);
    }
    long channels = x.dim(batched ? 1 : 0);
    if (channels != numFeatures) {
      throw new IllegalArgumentException(
          "x has "
              + channels
              + " channels, this "
              + getClass().getSimpleName()
              + " was built for "
              + numFeatures);
    }
    return x;
  }

  @Override
  final Shape check(Shape x) {
    outputShape(x);
    if (isTraining() || running == null) {
      SampleNormFunctions.checkInstances(withSamples(x));
    }
    return x;
  }

  @Override
  final long rows(Shape x) {
    return x.rank() == spatialDimensions + 2 ? x.dim(0) * numFeatures : numFeatures;
  }

  /** A copy of this module, made with a new builder of its class. */
  final <T extends InstanceNorm> T copy(BatchNorm.Builder<T> builder) {
    return copyTo(
        builder
            .eps(eps())
            .momentum(momentum)
            .affine(weight() != null)
            .trackRunningStats(running != null)
            .dtype(dtype())
            .build());
  }

  @Override
  abstract InstanceNorm copy();

  @Override
  final void normalize(Tensor x, SavedStatistics saved, Tensor y) {
    Tensor input = withSamples("x", x);
    Tensor output = withSamples("y", y);
    boolean byRunning = running != null && !isTraining();
    if (byRunning) {
      BatchNormFunctions.batchNormInference(
          input,
          null,
          running.mean,
          running.var,
          weightValue(),
          biasValue(),
          eps(),
          Activation.NONE,
          backend(),
          output);
    } else {
      SampleNormFunctions.instanceNorm(
          input,
          running == null ? null : running.mean,
          running == null ? null : running.var,
          weightValue(),
          biasValue(),
          momentum,
          eps(),
          backend(),
          saved,
          output);
    }
    lastByRunning = byRunning;
  }

  @Override
  final void differentiate(Tensor dy, Tensor x, SavedStatistics saved, Tensor dx) {
    if (!dy.shape().equals(x.shape())) {
      throw new IllegalArgumentException(
          "dy has shape " + dy.shape() + ", expected that of x, " + x.shape());
    }
    Tensor input = withSamples("x", x);
    Tensor gradient = withSamples("dy", dy);
    Tensor inputGradient = withSamples("dx", dx);
    if (lastByRunning && running != null) {
      BatchNormFunctions.batchNormBackwardInference(
          gradient,
          input,
          null,
          weightValue(),
          null,
          running.mean,
          running.var,
          eps(),
          Activation.NONE,
          backend(),
          inputGradient,
          null,
          weightGrad(),
          biasGrad());
    } else {
      SampleNormFunctions.instanceNormBackward(
          gradient,
          input,
          weightValue(),
          saved,
          backend(),
          inputGradient,
          weightGrad(),
          biasGrad());
    }
  }

  /** The tensor with a dimension N. */
  private Tensor withSamples(String name, Tensor t) {
    Shape shape = t.shape();
    if (shape.rank() == spatialDimensions + 2) {
      return t;
    }
    if (!t.isRowMajor()) {
      throw new IllegalArgumentException(
          name
              + " is one sample without dimension N, and must then be contiguous and channels"
              + " first; call to(MemoryFormat.CHANNELS_FIRST) first");
    }
    return t.view(MemoryFormat.CHANNELS_FIRST, withSamples(shape));
  }

  /** The shape with a dimension N. */
  private Shape withSamples(Shape shape) {
    if (shape.rank() == spatialDimensions + 2) {
      return shape;
    }
    long[] dims = new long[shape.rank() + 1];
    dims[0] = 1;
    System.arraycopy(shape.toArray(), 0, dims, 1, shape.rank());
    return Shape.of(dims);
  }

  @Override
  final String options() {
    return numFeatures
        + ", eps="
        + BatchNorm.python(eps())
        + ", momentum="
        + BatchNorm.python(momentum)
        + ", affine="
        + BatchNorm.python(weight() != null)
        + ", track_running_stats="
        + BatchNorm.python(running != null);
  }
}
