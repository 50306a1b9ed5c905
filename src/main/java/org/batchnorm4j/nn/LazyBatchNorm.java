package org.batchnorm4j.nn;

import java.util.Map;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A batch norm that takes its number of channels from its first input, or from the state that is
 * loaded into it. From then on it is {@link #batchNorm}, whose names its state has, and all that
 * {@link BatchNorm} says holds.
 *
 * <p>Before, it has no parameters: run a batch through the network before making an optimizer, in
 * evaluation mode if the batch is not to count.
 *
 * @param <T> what it becomes
 */
public abstract sealed class LazyBatchNorm<T extends BatchNorm> extends Module
    permits LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d {
  private final double eps;
  private final @Nullable Double momentum;
  private final boolean affine;
  private final boolean trackRunningStats;
  private final DType dtype;
  private @Nullable T inner;
  private @Nullable BatchNormBackend backend;

  /** Whether {@link #inner} was made for a load that is under way. */
  private boolean loading;

  /** Whether nothing in that load says how many channels there are. */
  private boolean guessed;

  private boolean closed;

  LazyBatchNorm(BatchNorm.Builder<?> options) {
    eps = options.eps;
    momentum = options.momentum;
    affine = options.affine;
    trackRunningStats = options.trackRunningStats;
    dtype = options.dtype;
  }

  /** A builder of what this becomes. */
  abstract BatchNorm.Builder<T> builderOf(long numFeatures);

  /** One like this as it was when made. */
  abstract LazyBatchNorm<T> blank();

  /** Sets the options of {@code other} to those of this. */
  final <M extends Module> BatchNorm.Builder<M> withOptions(BatchNorm.Builder<M> other) {
    return other
        .eps(eps)
        .momentum(momentum)
        .affine(affine)
        .trackRunningStats(trackRunningStats)
        .dtype(dtype);
  }

  /** What this has become; null before the first input. */
  public final @Nullable T batchNorm() {
    return inner;
  }

  @Override
  final Module settled() {
    return inner == null ? this : inner;
  }

  /** Its batch norm's too, which is no child: it has the names of this. */
  @Override
  final void setMode(boolean mode) {
    super.setMode(mode);
    if (inner != null) {
      inner.setMode(mode);
    }
  }

  private T make(long numFeatures) {
    T made = withOptions(builderOf(numFeatures)).build();
    if (backend != null) {
      made.backend(backend);
    }
    made.setMode(isTraining());
    return made;
  }

  /** For a first input of this shape. */
  private T makeFor(Shape x) {
    if (x.rank() > 1 && x.dim(1) == 0) {
      throw new IllegalArgumentException(
          "x has no channels (shape "
              + x
              + "), so that this "
              + getClass().getSimpleName()
              + " cannot take their number from it");
    }
    return make(x.rank() > 1 ? x.dim(1) : 1);
  }

  /** {@inheritDoc} The first decides the number of channels, unless it is refused. */
  @Override
  public final Tensor forward(Tensor x) {
    if (closed) {
      throw new IllegalStateException("this " + getClass().getSimpleName() + " is closed");
    }
    T bn = inner;
    if (bn != null) {
      return bn.forward(x);
    }
    T first = makeFor(x.shape());
    try {
      Tensor y = first.forward(x);
      inner = first;
      return y;
    } finally {
      if (inner == null) {
        first.close();
      }
    }
  }

  @Override
  public final Tensor backward(Tensor dy) {
    T bn = inner;
    if (bn == null) {
      throw new IllegalStateException("backward(dy) needs a forward before it: call forward(x)");
    }
    return bn.backward(dy);
  }

  /** The input's. */
  @Override
  public final Shape outputShape(Shape x) {
    T bn = inner;
    if (bn != null) {
      return bn.outputShape(x);
    }
    try (T first = makeFor(x)) {
      return first.outputShape(x);
    }
  }

  @Override
  final Shape check(Shape x) {
    T bn = inner;
    if (bn != null) {
      return bn.check(x);
    }
    try (T first = makeFor(x)) {
      return first.check(x);
    }
  }

  @Override
  final Module copy() {
    T bn = inner;
    if (bn != null) {
      return withMode(bn.copy());
    }
    LazyBatchNorm<T> copy = blank();
    copy.backend = backend;
    return withMode(copy);
  }

  @Override
  final void loading(Map<String, Tensor> state, String prefix) {
    if (inner != null || closed) {
      return;
    }
    loading = true;
    guessed = true;
    long channels = 1;
    for (String name : new String[] {"running_var", "running_mean", "bias", "weight"}) {
      Tensor given = state.get(prefix + name);
      if (given != null && given.shape().rank() == 1 && given.size() > 0) {
        channels = given.size();
        guessed = false;
      }
    }
    inner = make(channels);
  }

  @Override
  final void loadRefused() {
    if (loading && inner != null) {
      inner.close();
      inner = null;
    }
    loading = false;
  }

  @Override
  final void buffersLoaded() {
    if (guessed) {
      loadRefused();
    }
    loading = false;
    guessed = false;
  }

  @Override
  protected final Map<String, Parameter> ownParameters() {
    return inner == null ? Map.of() : inner.ownParameters();
  }

  @Override
  protected final Map<String, Tensor> ownBuffers() {
    return inner == null ? Map.of() : inner.ownBuffers();
  }

  @Override
  public final LazyBatchNorm<T> backend(BatchNormBackend backend) {
    this.backend = backend;
    if (inner != null) {
      inner.backend(backend);
    }
    return this;
  }

  @Override
  public final void close() {
    closed = true;
    if (inner != null) {
      inner.close();
    }
  }

  /** As PyTorch prints it: with 0 channels, and later as what it has become. */
  @Override
  public final String toString() {
    return inner != null
        ? inner.toString()
        : BatchNorm.describe(this, 0, eps, momentum, affine, trackRunningStats);
  }
}
