package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.InUse;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.MemoryFormat;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * What all f32 layers with one input and one output share: the checks, the tensors they keep, and
 * that memory stays valid while it is used. A subclass only says which shape goes in and out, and
 * computes.
 *
 * <p>Methods are synchronized for one reason: a close from another thread waits for the computation
 * instead of pulling its memory away.
 */
abstract class Layer extends Module {
  private final Slot output = new Slot();
  private final Slot gradient = new Slot();
  private @Nullable Tensor lastX;
  private @Nullable Tensor lastY;
  private boolean closed;

  @Override
  public abstract Shape outputShape(Shape x);

  /** Writes every element of {@code y}. */
  abstract void compute(Tensor x, Tensor y);

  /** Writes every element of {@code dx} and of the parameters' gradients. */
  abstract void differentiate(Tensor x, Tensor dy, Tensor dx);

  /** Whether the layer works element by element, so that the order of elements is all one to it. */
  boolean isElementwise() {
    return false;
  }

  /** Whether the next forward hands its input on as its output. */
  boolean isIdentity() {
    return false;
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code x} is not f32, has a shape this layer cannot take,
   *     or lies in memory in an order it cannot take
   * @throws IllegalStateException if {@code x} or the layer is closed
   */
  @Override
  public final synchronized Tensor forward(Tensor x) {
    checkUsable("x", x);
    if (!isElementwise()) {
      checkRowMajor(name(), x);
    } else if (!x.isContiguous()) {
      throw new IllegalArgumentException(
          "x is not contiguous, but "
              + name()
              + " needs contiguous data; copy it with"
              + " to(x.format()) first");
    }
    Shape shape = outputShape(x.shape());
    checkNotOwn("x", x);
    Tensor y = x;
    if (!isIdentity()) {
      MemoryFormat format = isElementwise() ? x.format() : MemoryFormat.CHANNELS_FIRST;
      y = output.propose(DType.F32, format, shape);
      Tensor[] used = withParameters(x, y);
      InUse.acquire(used);
      output.adopt();
      try {
        compute(x, y);
      } finally {
        InUse.release(used);
      }
    }
    lastX = x;
    lastY = y;
    return y;
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code dy} is not f32 or differs from the output in shape
   *     or memory format
   * @throws IllegalStateException if there was no forward to differentiate, or if {@code dy}, the
   *     forward's input or the layer is closed
   */
  @Override
  public final synchronized Tensor backward(Tensor dy) {
    Tensor x = lastX;
    Tensor y = lastY;
    if (x == null || y == null) {
      throw new IllegalStateException(
          name() + ".backward needs the input of a forward: call forward first");
    }
    checkUsable("dy", dy);
    checkGradient(name(), dy, y);
    if (x.isClosed()) {
      throw new IllegalStateException(
          "the input of the last forward is closed, but " + name() + ".backward needs it");
    }
    if (x == y) {
      return dy;
    }
    checkNotOwn("dy", dy);
    Tensor dx = gradient.propose(x);
    Tensor[] used = withParameters(x, dy, dx);
    InUse.acquire(used);
    gradient.adopt();
    try {
      differentiate(x, dy, dx);
    } finally {
      InUse.release(used);
    }
    return dx;
  }

  /** Throws unless the elements of {@code x} lie in the order of its shape. */
  static void checkRowMajor(String layer, Tensor x) {
    if (!x.isRowMajor()) {
      throw new IllegalArgumentException(
          "x is "
              + order(x)
              + ", but "
              + layer
              + " needs contiguous channels-first data; call to(MemoryFormat.CHANNELS_FIRST) first");
    }
  }

  /** Throws unless {@code dy} is contiguous and has the shape and the order of {@code y}. */
  static void checkGradient(String layer, Tensor dy, Tensor y) {
    if (!dy.shape().equals(y.shape())) {
      throw new IllegalArgumentException(
          "dy has shape " + dy.shape() + ", but the output of this " + layer + " has " + y.shape());
    }
    if (!isSameOrder(dy, y)) {
      throw new IllegalArgumentException(
          "dy is "
              + order(dy)
              + ", but the output of this "
              + layer
              + " is "
              + order(y)
              + "; call to(MemoryFormat."
              + y.format()
              + ") first");
    }
  }

  /** Throws unless {@code t} is open and f32. */
  static void checkFloats(String user, String name, Tensor t) {
    if (t.isClosed()) {
      throw new IllegalStateException(name + " is closed");
    }
    if (t.dtype() != DType.F32) {
      throw new IllegalArgumentException(
          name
              + " is "
              + t.dtype()
              + ", but "
              + user
              + " computes in F32; call to(DType.F32) first");
    }
  }

  private void checkUsable(String argument, Tensor t) {
    if (closed) {
      throw new IllegalStateException("this " + name() + " is closed");
    }
    checkFloats(name(), argument, t);
    checkShared(name(), argument, t);
  }

  /** Throws if only the calling thread may use {@code t}: layers compute on several. */
  static void checkShared(String user, String name, Tensor t) {
    if (t.isConfined()) {
      throw new IllegalArgumentException(
          name
              + " lies in a MemorySegment that is confined to one thread, but "
              + user
              + " may use several: copy it with to(DType.F32), or take a shared arena");
    }
  }

  private void checkNotOwn(String argument, Tensor t) {
    boolean own = output.overlaps(t) || gradient.overlaps(t);
    for (Parameter p : ownParameters().values()) {
      own |= p.grad().overlaps(t);
    }
    if (own) {
      throw new IllegalArgumentException(
          argument
              + " is this "
              + name()
              + "'s own output or gradient, which the call would"
              + " overwrite; copy it first");
    }
  }

  /** Whether {@code t} is contiguous and its elements lie in the order of those of {@code like}. */
  static boolean isSameOrder(Tensor t, Tensor like) {
    return t.isContiguous() && t.format() == like.format() || t.isRowMajor() && like.isRowMajor();
  }

  private static String order(Tensor t) {
    String format = t.format() == MemoryFormat.CHANNELS_FIRST ? "channels first" : "channels last";
    return t.isContiguous() ? format : format + " with gaps";
  }

  /** The class's name, as messages and {@code toString} give it. */
  final String name() {
    return getClass().getSimpleName();
  }

  /** What a call uses: these tensors and the parameters. */
  private Tensor[] withParameters(Tensor... tensors) {
    List<Tensor> used = new ArrayList<>(List.of(tensors));
    for (Parameter p : ownParameters().values()) {
      used.add(p.value());
      used.add(p.grad());
    }
    return used.toArray(Tensor[]::new);
  }

  @Override
  public synchronized void close() {
    closed = true;
    lastX = null;
    lastY = null;
    output.close();
    gradient.close();
    super.close();
  }

  @Override
  public String toString() {
    return name() + "(" + options() + ")";
  }

  /** What PyTorch prints between the parentheses. */
  String options() {
    return "";
  }
}
