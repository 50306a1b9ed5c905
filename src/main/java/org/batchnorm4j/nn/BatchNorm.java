package org.batchnorm4j.nn;

import java.math.BigDecimal;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.Function;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.functional.BatchNormFunctions;
import org.batchnorm4j.stats.ChannelStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Batch normalization with the semantics of {@code torch.nn.BatchNorm1d}, {@code 2d} and {@code
 * 3d}, which differ in the ranks they take and nothing else.
 *
 * <p>In training mode the output is normalized with the batch's mean and biased variance, and the
 * running statistics move towards the batch's mean and unbiased variance. In evaluation mode it is
 * normalized with the running statistics; where there are none, with the batch's own. The output
 * has the input's memory format; a batch without values (N = 0) is legal and leaves the statistics
 * alone.
 *
 * <p><b>Errors.</b> A wrong rank, channel count, type or shape, or one value per channel where the
 * batch's own statistics are needed, is an {@link IllegalArgumentException}; a closed tensor or
 * module an {@link IllegalStateException}. A call that throws has changed nothing, the counter
 * included.
 *
 * <p><b>Memory.</b> Input on the heap ({@link Tensor#wrap(float[], long...)}) will do, but is
 * trained on by the slower Java backend, to the same bits; what {@link Tensor#of(float[], long...)}
 * makes is trained on natively.
 *
 * <p><b>Threads.</b> One thread at a time, except the {@code forward} methods with an {@code out}
 * in evaluation mode: any number of threads may call them at the same time, each with its own
 * {@code out}, without a lock.
 */
public abstract sealed class BatchNorm extends Module
    permits BatchNorm1d, BatchNorm2d, BatchNorm3d {
  private final long numFeatures;
  private final double eps;
  private final DType dtype;
  private final @Nullable Parameter weight;
  private final @Nullable Parameter bias;
  private final @Nullable Running running;
  private final Map<String, Parameter> parameters;
  private final Map<String, Tensor> buffers;
  private @Nullable Double momentum;
  private boolean trackRunningStats;
  private @Nullable BatchNormBackend backend;
  private @Nullable Consumer<Tensor> inputObserver;
  private boolean closed;

  private final Slot output = new Slot();
  private final Slot gradInput = new Slot();
  private final Slot gradResidual = new Slot();
  private final Slot gradOutputCopy = new Slot();
  private @Nullable SavedStatistics saved;

  // The forward that backward differentiates.
  private @Nullable Tensor lastInput;
  private @Nullable Tensor lastOutput;
  private Activation lastActivation = Activation.NONE;

  /** The running statistics if it used them, null if it used the batch's own. */
  private @Nullable Running lastRunning;

  private boolean lastHadResidual;
  private @Nullable Tensor lastGradResidual;

  BatchNorm(Builder<?> builder) {
    numFeatures = builder.numFeatures;
    eps = builder.eps;
    momentum = builder.momentum;
    trackRunningStats = builder.trackRunningStats;
    dtype = builder.dtype;
    Map<String, Parameter> parameters = new LinkedHashMap<>();
    Map<String, Tensor> buffers = new LinkedHashMap<>();
    if (builder.affine) {
      weight = Parameter.of(Tensor.zeros(dtype, numFeatures).fill(1));
      bias = Parameter.of(Tensor.zeros(dtype, numFeatures));
      parameters.put("weight", weight);
      parameters.put("bias", bias);
    } else {
      weight = null;
      bias = null;
    }
    if (trackRunningStats) {
      running =
          new Running(
              Tensor.zeros(dtype, numFeatures),
              Tensor.zeros(dtype, numFeatures).fill(1),
              Tensor.scalar(0));
      buffers.put("running_mean", running.mean);
      buffers.put("running_var", running.var);
      buffers.put("num_batches_tracked", running.batches);
    } else {
      running = null;
    }
    this.parameters = Collections.unmodifiableMap(parameters);
    this.buffers = Collections.unmodifiableMap(buffers);
  }

  private record Running(Tensor mean, Tensor var, Tensor batches) {}

  /** PyTorch's complaint about the rank, or null if this class takes it. */
  abstract @Nullable String rankError(int rank);

  // ------------------------------------------------------------------------------------- forward

  /**
   * Normalizes {@code x} into a tensor of this module's, overwritten by its next forward.
   *
   * @param x (N, C, ...) with C = {@link #numFeatures}, in F32, BF16 or F16 where the parameters
   *     are F32, in F64 where they are F64, in any of these where there are neither parameters nor
   *     running statistics. {@link #backward} reads it again
   */
  @Override
  public final Tensor forward(Tensor x) {
    return forward(x, null, Activation.NONE);
  }

  /**
   * {@code activation(normalized x + residual)} in one pass, into a tensor of this module's.
   *
   * @param residual of {@code x}'s shape, type and memory format, or null for none
   */
  public final Tensor forward(Tensor x, @Nullable Tensor residual, Activation activation) {
    checkInput(x);
    Tensor y = output.propose(x);
    if (running != null && !isTraining()) {
      normalizeWith(running, x, residual, activation, y);
    } else {
      normalizeAndSave(x, residual, activation, y);
    }
    output.adopt();
    remember(x, residual, activation, y);
    return y;
  }

  /**
   * Normalizes {@code x} into {@code out}. In evaluation mode any number of threads may call this
   * at the same time; it then leaves no trace in the module, for {@link #backward} neither, and
   * allocates nothing but C statistics where none are tracked.
   *
   * @param out of {@code x}'s shape, type and memory format. It may be {@code x} itself, but then
   *     the forward has no backward
   * @return {@code out}
   */
  public final Tensor forward(Tensor x, Tensor out) {
    return forward(x, null, Activation.NONE, out);
  }

  /**
   * {@code activation(normalized x + residual)} into {@code out}, otherwise as {@link
   * #forward(Tensor, Tensor)}.
   *
   * @param residual of {@code x}'s shape, type and memory format, or null for none. It may be
   *     {@code out}
   */
  public final Tensor forward(
      Tensor x, @Nullable Tensor residual, Activation activation, Tensor out) {
    checkInput(x);
    if (isTraining()) {
      normalizeAndSave(x, residual, activation, out);
      remember(x, residual, activation, out);
    } else if (running != null) {
      normalizeWith(running, x, residual, activation, out);
    } else {
      try (SavedStatistics own = SavedStatistics.allocate(statisticsType(x), numFeatures)) {
        normalizeWithBatch(x, residual, activation, out, own);
      }
    }
    return out;
  }

  private void checkInput(Tensor x) {
    if (closed) {
      throw new IllegalStateException("this " + getClass().getSimpleName() + " is closed");
    }
    outputShape(x.shape());
    if (inputObserver != null) {
      inputObserver.accept(x);
    }
  }

  /** The input's. */
  @Override
  public final Shape outputShape(Shape x) {
    String wrongRank = rankError(x.rank());
    if (wrongRank != null) {
      throw new IllegalArgumentException(wrongRank + ": x has shape " + x);
    }
    if (x.dim(1) != numFeatures) {
      throw new IllegalArgumentException(
          "x has "
              + x.dim(1)
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
      BatchNormFunctions.checkBatch(x);
    }
    return x;
  }

  /** As in PyTorch, what has no parameters and no running statistics takes any type. */
  private DType statisticsType(Tensor x) {
    boolean any = weight == null && running == null && x.dtype() != DType.I64;
    return any ? x.dtype().parameterType() : dtype;
  }

  /** Into statistics that are kept for backward. */
  private void normalizeAndSave(
      Tensor x, @Nullable Tensor residual, Activation activation, Tensor y) {
    SavedStatistics last = saved;
    DType type = statisticsType(x);
    boolean fits = last != null && last.mean().dtype() == type;
    SavedStatistics statistics = fits ? last : SavedStatistics.allocate(type, numFeatures);
    normalizeWithBatch(x, residual, activation, y, statistics);
    if (last != null && !fits) {
      last.close();
    }
    saved = statistics;
  }

  // The two make all checks that are left; nothing is written before they have passed.

  private void normalizeWith(
      Running statistics, Tensor x, @Nullable Tensor residual, Activation activation, Tensor y) {
    BatchNormFunctions.batchNormInference(
        x,
        residual,
        statistics.mean,
        statistics.var,
        value(weight),
        value(bias),
        eps,
        activation,
        backend(),
        y);
  }

  private void normalizeWithBatch(
      Tensor x,
      @Nullable Tensor residual,
      Activation activation,
      Tensor y,
      SavedStatistics statistics) {
    Running updated = isTraining() && trackRunningStats ? running : null;
    long batches = 0;
    double factor = 0;
    if (updated != null) {
      batches = updated.batches.getLong() + 1;
      factor = momentum == null ? 1.0 / batches : momentum;
    }
    BatchNormFunctions.batchNormTraining(
        x,
        residual,
        updated == null ? null : updated.mean,
        updated == null ? null : updated.var,
        value(weight),
        value(bias),
        factor,
        eps,
        activation,
        backend(),
        statistics,
        y);
    if (updated != null) {
      updated.batches.setLong(batches);
    }
  }

  private void remember(Tensor x, @Nullable Tensor residual, Activation activation, Tensor y) {
    lastInput = x;
    lastOutput = y;
    lastActivation = activation;
    lastRunning = isTraining() ? null : running;
    lastHadResidual = residual != null;
    lastGradResidual = null;
  }

  // ------------------------------------------------------------------------------------ backward

  /**
   * The gradient of the last forward's input, in a tensor of this module's with the input's memory
   * format. Those of weight and bias are left in their {@link Parameter#grad}, that of a residual
   * in {@link #residualGrad}.
   *
   * <p>The forward may have been in either mode, but not one into an {@code out} in evaluation
   * mode, which leaves no trace. Its input and the parameters must be unchanged; so must its output
   * if it had a residual and an activation.
   *
   * @param dy of the output's shape and type. In another memory format it costs a copy
   * @throws IllegalStateException if there was no forward, or it overwrote its own input
   */
  @Override
  public final Tensor backward(Tensor dy) {
    Tensor x = lastInput;
    Tensor y = lastOutput;
    if (x == null || y == null) {
      throw new IllegalStateException(
          "backward(dy) needs a forward before it: forward(x), or in training mode forward(x, out)");
    }
    if (y.isSameMemory(x)) {
      throw new IllegalStateException(
          "the last forward wrote its output over its input x, which backward(dy) needs: give it"
              + " another out");
    }
    Tensor gradient = inFormatOf(x, dy);
    Tensor dx = gradInput.propose(x);
    Tensor dresidual = lastHadResidual ? gradResidual.propose(x) : null;
    boolean masked = lastActivation.kind() != Activation.Kind.NONE;
    // Without a residual the mask is computed from x, and y need not be read.
    Tensor mask = masked && lastHadResidual ? y : null;
    Tensor dweight = weight == null ? null : weight.grad();
    Tensor dbias = bias == null ? null : bias.grad();
    if (lastRunning == null) {
      BatchNormFunctions.batchNormBackwardTraining(
          gradient,
          x,
          mask,
          value(weight),
          value(bias),
          Objects.requireNonNull(saved),
          lastActivation,
          backend(),
          dx,
          dresidual,
          dweight,
          dbias);
    } else {
      BatchNormFunctions.batchNormBackwardInference(
          gradient,
          x,
          mask,
          value(weight),
          value(bias),
          lastRunning.mean,
          lastRunning.var,
          eps,
          lastActivation,
          backend(),
          dx,
          dresidual,
          dweight,
          dbias);
    }
    gradInput.adopt();
    if (dresidual != null) {
      gradResidual.adopt();
    }
    lastGradResidual = dresidual;
    return dx;
  }

  /** The copy is ours to keep, so that steady state allocates nothing. */
  private Tensor inFormatOf(Tensor x, Tensor dy) {
    boolean another = dy.format() != x.format();
    if (!another || dy.isClosed() || dy.dtype() != x.dtype() || !dy.shape().equals(x.shape())) {
      return dy;
    }
    return gradOutputCopy.like(x).copyFrom(dy);
  }

  /**
   * The gradient of the residual of the last forward, from the last {@link #backward}.
   *
   * @throws IllegalStateException if there was no residual, or no backward yet
   */
  public final Tensor residualGrad() {
    Tensor gradient = lastGradResidual;
    if (gradient == null) {
      throw new IllegalStateException(
          "there is no gradient of a residual: call forward with a residual, then backward(dy)");
    }
    return gradient;
  }

  // --------------------------------------------------------------------------------------- state

  /** The number of channels, C. */
  public final long numFeatures() {
    return numFeatures;
  }

  /** What is added to the variance. */
  public final double eps() {
    return eps;
  }

  /** The weight of a batch in the running statistics; null for the average of all batches. */
  public final @Nullable Double momentum() {
    return momentum;
  }

  /**
   * Changes {@link #momentum} from the next forward on.
   *
   * @throws IllegalArgumentException if it is not finite
   */
  public final void setMomentum(@Nullable Double momentum) {
    checkMomentum(momentum);
    this.momentum = momentum;
  }

  /** Whether training forwards update the running statistics. */
  public final boolean trackRunningStats() {
    return trackRunningStats;
  }

  /**
   * Freezes the running statistics, or goes on with them. As in PyTorch, evaluation uses them
   * either way, and a module built without them stays without.
   */
  public final void setTrackRunningStats(boolean track) {
    trackRunningStats = track;
  }

  /** The scale, of shape (C); null if not affine. */
  public final @Nullable Parameter weight() {
    return weight;
  }

  /** The shift, of shape (C); null if not affine. */
  public final @Nullable Parameter bias() {
    return bias;
  }

  /** The running mean, of shape (C), live; null if built without running statistics. */
  public final @Nullable Tensor runningMean() {
    return running == null ? null : running.mean;
  }

  /** The running variance, of shape (C), live; null if built without running statistics. */
  public final @Nullable Tensor runningVar() {
    return running == null ? null : running.var;
  }

  /** The number of training forwards, an I64 scalar, live; null if without running statistics. */
  public final @Nullable Tensor numBatchesTracked() {
    return running == null ? null : running.batches;
  }

  /** Sets the running mean to 0, the running variance to 1 and the counter to 0, where tracked. */
  public final void resetRunningStats() {
    if (running != null && trackRunningStats()) {
      running.mean.fill(0);
      running.var.fill(1);
      running.batches.setLong(0);
    }
  }

  /** Sets the running statistics, which this batch norm has, as after that many batches. */
  final void setRunningStats(ChannelStatistics statistics, long batches) {
    Running updated = Objects.requireNonNull(running);
    statistics.toRunningStats(updated.mean, updated.var);
    updated.batches.setLong(batches);
  }

  /** Shows the input of each forward from now on to someone; null for no one. */
  final void observeInputs(@Nullable Consumer<Tensor> observer) {
    inputObserver = observer;
  }

  /** {@link #resetRunningStats}, and weight to 1, bias to 0. */
  public final void resetParameters() {
    resetRunningStats();
    if (weight != null && bias != null) {
      weight.value().fill(1);
      bias.value().fill(0);
    }
  }

  /** A copy of this module, made with a new builder of its class. */
  final <T extends BatchNorm> T copy(Builder<T> builder) {
    T blank =
        builder
            .eps(eps)
            .momentum(momentum)
            .affine(weight != null)
            .trackRunningStats(running != null)
            .dtype(dtype)
            .build();
    BatchNorm copy = withState(blank);
    copy.trackRunningStats = trackRunningStats;
    copy.backend = backend;
    return blank;
  }

  @Override
  abstract BatchNorm copy();

  @Override
  protected Map<String, Parameter> ownParameters() {
    return parameters;
  }

  @Override
  protected Map<String, Tensor> ownBuffers() {
    return buffers;
  }

  @Override
  public final BatchNorm backend(BatchNormBackend backend) {
    this.backend = backend;
    return this;
  }

  private BatchNormBackend backend() {
    BatchNormBackend own = backend;
    return own == null ? Backends.best() : own;
  }

  private static @Nullable Tensor value(@Nullable Parameter parameter) {
    return parameter == null ? null : parameter.value();
  }

  @Override
  public final void close() {
    closed = true;
    super.close();
    output.close();
    gradInput.close();
    gradResidual.close();
    gradOutputCopy.close();
    if (saved != null) {
      saved.close();
      saved = null;
    }
    lastInput = null;
    lastOutput = null;
    lastGradResidual = null;
  }

  /** As PyTorch prints it. */
  @Override
  public final String toString() {
    return describe(this, numFeatures, eps, momentum, weight != null, trackRunningStats);
  }

  static String describe(
      Module module,
      long numFeatures,
      double eps,
      @Nullable Double momentum,
      boolean affine,
      boolean trackRunningStats) {
    return module.getClass().getSimpleName()
        + "("
        + numFeatures
        + ", eps="
        + python(eps)
        + ", momentum="
        + (momentum == null ? "None" : python(momentum))
        + ", affine="
        + python(affine)
        + ", track_running_stats="
        + python(trackRunningStats)
        + ")";
  }

  static String python(boolean value) {
    return value ? "True" : "False";
  }

  /** Python's repr of a float, such as 0.1, 1.0 and 1e-05. */
  static String python(double value) {
    if (value == 0 || Double.isInfinite(value)) {
      return value == 0 ? Double.toString(value) : "inf";
    }
    BigDecimal decimal = new BigDecimal(Double.toString(value)).stripTrailingZeros();
    int exponent = decimal.precision() - decimal.scale() - 1;
    if (exponent >= -4 && exponent < 16) {
      return decimal.scale() <= 0 ? decimal.toBigInteger() + ".0" : decimal.toPlainString();
    }
    String digits = decimal.unscaledValue().abs().toString();
    String fraction = digits.length() == 1 ? "" : "." + digits.substring(1);
    return (value < 0 ? "-" : "")
        + digits.charAt(0)
        + fraction
        + String.format(Locale.ROOT, "e%s%02d", exponent < 0 ? "-" : "+", Math.abs(exponent));
  }

  private static void checkMomentum(@Nullable Double momentum) {
    if (momentum != null && !Double.isFinite(momentum)) {
      throw new IllegalArgumentException(
          "momentum must be finite, or null for the average of all batches, but got " + momentum);
    }
  }

  /**
   * The options of a batch norm or an instance norm, by PyTorch's names and with its defaults.
   *
   * @param <T> what is built
   */
  public static final class Builder<T extends Module> {
    final long numFeatures;
    private final Function<Builder<T>, T> constructor;
    double eps = 1e-5;
    @Nullable Double momentum = 0.1;
    boolean affine = true;
    boolean trackRunningStats = true;
    DType dtype = DType.F32;

    Builder(long numFeatures, Function<Builder<T>, T> constructor) {
      if (numFeatures < 1) {
        throw new IllegalArgumentException(
            "numFeatures must be at least 1, but got " + numFeatures);
      }
      this.numFeatures = numFeatures;
      this.constructor = constructor;
    }

    /** For a module that takes the number of features from its first input. */
    Builder(Function<Builder<T>, T> constructor) {
      numFeatures = 0;
      this.constructor = constructor;
    }

    /** What is added to the variance, &gt;= 0; 1e-5 if not set. */
    public Builder<T> eps(double eps) {
      this.eps = eps;
      return this;
    }

    /**
     * The weight of a batch in the running statistics, finite; null for the average of all batches,
     * which an instance norm does not have; 0.1 if not set.
     */
    public Builder<T> momentum(@Nullable Double momentum) {
      checkMomentum(momentum);
      this.momentum = momentum;
      return this;
    }

    /** Whether there are weight and bias; if not set, true for batch, false for instance norm. */
    public Builder<T> affine(boolean affine) {
      this.affine = affine;
      return this;
    }

    /**
     * Whether there are running statistics; if not set, true for batch, false for instance norm.
     */
    public Builder<T> trackRunningStats(boolean trackRunningStats) {
      this.trackRunningStats = trackRunningStats;
      return this;
    }

    /**
     * The type of parameters and statistics: F32 (if not set), for F32, BF16 and F16 input; F64.
     */
    public Builder<T> dtype(DType dtype) {
      if (dtype != DType.F32 && dtype != DType.F64) {
        throw new IllegalArgumentException(
            "dtype must be F32 or F64 (BF16 and F16 input goes with F32 parameters), but got "
                + dtype);
      }
      this.dtype = dtype;
      return this;
    }

    /**
     * The module.
     *
     * @throws IllegalArgumentException if eps is negative or NaN, or 0 where every forward would
     *     use the batch's own statistics; or if momentum is null for an instance norm
     */
    public T build() {
      if (!(eps >= 0)) {
        throw new IllegalArgumentException("eps must be >= 0, but got " + eps);
      }
      if (eps == 0 && !trackRunningStats) {
        throw new IllegalArgumentException(
            "eps must be > 0 where no running statistics are tracked, but got " + eps);
      }
      return constructor.apply(this);
    }
  }
}
