package org.batchnorm4j.nn;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What the normalizations share that take each sample by itself: parameters, and the memory of a
 * forward and its backward. A subclass says what is normalized together, a row, and calls the
 * functions, which make the checks.
 */
abstract sealed class SampleNorm extends Module permits InstanceNorm, GroupNorm, LayerNorm {
  private final double eps;
  private final DType dtype;
  private final @Nullable Parameter weight;
  private final @Nullable Parameter bias;
  private final Map<String, Parameter> parameters;
  private final Slot output = new Slot();
  private final Slot gradInput = new Slot();
  private final Slot mean = new Slot();
  private final Slot meanLow = new Slot();
  private final Slot invStd = new Slot();
  private @Nullable BatchNormBackend backend;
  private boolean closed;

  // The forward that backward differentiates.
  private @Nullable Tensor lastInput;
  private @Nullable SavedStatistics lastSaved;

  SampleNorm(Shape parameterShape, double eps, boolean affine, boolean bias, DType dtype) {
    if (dtype != DType.F32 && dtype != DType.F64) {
      throw new IllegalArgumentException(
          "dtype must be F32 or F64 (BF16 and F16 input goes with F32 parameters), but got "
              + dtype);
    }
    this.eps = eps;
    this.dtype = dtype;
    Map<String, Parameter> parameters = new LinkedHashMap<>();
    if (affine) {
      weight = Parameter.of(Tensor.zeros(dtype, parameterShape.toArray()).fill(1));
      parameters.put("weight", weight);
    } else {
      weight = null;
    }
    if (affine && bias) {
      this.bias = Parameter.of(Tensor.zeros(dtype, parameterShape.toArray()));
      parameters.put("bias", this.bias);
    } else {
      this.bias = null;
    }
    this.parameters = Collections.unmodifiableMap(parameters);
  }

  /** For modules that can do with the batch's own statistics only. */
  static double positiveEps(double eps) {
    if (!(eps > 0)) {
      throw new IllegalArgumentException("eps must be > 0, but got " + eps);
    }
    return eps;
  }

  static long atLeastOne(String name, long value) {
    if (value < 1) {
      throw new IllegalArgumentException(name + " must be at least 1, but got " + value);
    }
    return value;
  }

  /** The input's. */
  @Override
  public abstract Shape outputShape(Shape x);

  @Override
  abstract SampleNorm copy();

  /** The number of rows of an input that {@link #outputShape} takes. */
  abstract long rows(Shape x);

  /** Makes all checks that are left, then computes. */
  abstract void normalize(Tensor x, SavedStatistics saved, Tensor y);

  /** Makes all checks that are left, then computes. */
  abstract void differentiate(Tensor dy, Tensor x, SavedStatistics saved, Tensor dx);

  /**
   * Normalizes {@code x} into a tensor of this module's, overwritten by its next forward.
   *
   * @param x in F32, BF16 or F16 where the parameters are F32, in F64 where they are F64, in any of
   *     these where there are none. {@link #backward} reads it again
   */
  @Override
  public final Tensor forward(Tensor x) {
    if (closed) {
      throw new IllegalStateException("this " + getClass().getSimpleName() + " is closed");
    }
    Shape rows = Shape.of(rows(outputShape(x.shape())));
    if (output.overlaps(x) || gradInput.overlaps(x)) {
      throw new IllegalArgumentException(
          "x is this "
              + getClass().getSimpleName()
              + "'s own output or gradient, which the call would overwrite; copy it first");
    }
    Tensor y = output.propose(x);
    DType type = statisticsType(x);
    SavedStatistics saved =
        new SavedStatistics(
            mean.propose(type, MemoryFormat.CHANNELS_FIRST, rows),
            meanLow.propose(type, MemoryFormat.CHANNELS_FIRST, rows),
            invStd.propose(type, MemoryFormat.CHANNELS_FIRST, rows));
    normalize(x, saved, y);
    output.adopt();
    mean.adopt();
    meanLow.adopt();
    invStd.adopt();
    lastInput = x;
    lastSaved = saved;
    return y;
  }

  /** As in PyTorch, what has no parameters takes any type. */
  private DType statisticsType(Tensor x) {
    return weight == null && x.dtype() != DType.I64 ? x.dtype().parameterType() : dtype;
  }

  /**
   * The gradient of the last forward's input, in a tensor of this module's with the input's memory
   * format. Those of weight and bias are left in their {@link Parameter#grad}. The input must be
   * unchanged.
   *
   * @param dy of the output's shape and type, in either memory format
   * @throws IllegalStateException if there was no forward
   */
  @Override
  public final Tensor backward(Tensor dy) {
    Tensor x = lastInput;
    SavedStatistics saved = lastSaved;
    if (x == null || saved == null) {
      throw new IllegalStateException("backward(dy) needs a forward before it: call forward(x)");
    }
    Tensor dx = gradInput.propose(x);
    differentiate(dy, x, saved, dx);
    gradInput.adopt();
    return dx;
  }

  /** What is added to the variance. */
  public final double eps() {
    return eps;
  }

  /** The scale; null if not affine. */
  public final @Nullable Parameter weight() {
    return weight;
  }

  /** The shift; null if not affine, or without bias. */
  public final @Nullable Parameter bias() {
    return bias;
  }

  /** Sets weight to 1 and bias to 0, and what else there is to where it began. */
  public void resetParameters() {
    if (weight != null) {
      weight.value().fill(1);
    }
    if (bias != null) {
      bias.value().fill(0);
    }
  }

  /** Completes a {@link #copy}. */
  final <M extends SampleNorm> M copyTo(M blank) {
    SampleNorm copy = withState(blank);
    copy.backend = backend;
    return blank;
  }

  final DType dtype() {
    return dtype;
  }

  final @Nullable Tensor weightValue() {
    return weight == null ? null : weight.value();
  }

  final @Nullable Tensor biasValue() {
    return bias == null ? null : bias.value();
  }

  final @Nullable Tensor weightGrad() {
    return weight == null ? null : weight.grad();
  }

  final @Nullable Tensor biasGrad() {
    return bias == null ? null : bias.grad();
  }

  @Override
  protected final Map<String, Parameter> ownParameters() {
    return parameters;
  }

  @Override
  public final SampleNorm backend(BatchNormBackend backend) {
    this.backend = backend;
    return this;
  }

  final BatchNormBackend backend() {
    BatchNormBackend own = backend;
    return own == null ? Backends.best() : own;
  }

  @Override
  public final void close() {
    closed = true;
    super.close();
    output.close();
    gradInput.close();
    mean.close();
    meanLow.close();
    invStd.close();
    lastInput = null;
    lastSaved = null;
  }

  /** As PyTorch prints it. */
  @Override
  public final String toString() {
    return getClass().getSimpleName() + "(" + options() + ")";
  }

  /** What PyTorch prints between the parentheses. */
  abstract String options();
}
