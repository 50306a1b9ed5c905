package org.batchnorm4j.nn;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BiFunction;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.InUse;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * A residual block: {@code activation(body(x) + shortcut(x))}. f32.
 *
 * <p>Where the body is a batch norm or a {@link Sequential} that ends in one, normalization, sum
 * and activation are one pass over memory, forward and backward. What comes out is the same, bit
 * for bit.
 */
public final class Residual extends Module {
  private final Module body;
  private final @Nullable Module shortcut;
  private final Activation activation;
  private final @Nullable Elementwise activationLayer;

  private final ElementChunks chunks = new ElementChunks();
  private final Slot output = new Slot();
  private final Slot masked = new Slot();
  private final Slot gradient = new Slot();
  private @Nullable Tensor lastX;
  private @Nullable Tensor lastY;
  private @Nullable BatchNorm lastSummedBy;

  /** {@code body(x) + x}. */
  public Residual(Module body) {
    this(body, null, Activation.NONE);
  }

  /** {@code activation(body(x) + x)}. */
  public Residual(Module body, Activation activation) {
    this(body, null, activation);
  }

  /**
   * {@code activation(body(x) + shortcut(x))}.
   *
   * @param body called {@code body} in {@link #stateDict}
   * @param shortcut called {@code shortcut}; null for the input itself
   * @throws IllegalArgumentException if body and shortcut are the same module, which can keep the
   *     input of one forward only
   */
  public Residual(Module body, @Nullable Module shortcut, Activation activation) {
    if (body == shortcut) {
      throw new IllegalArgumentException(
          "body and shortcut are the same module; it keeps the input of one forward, so make"
              + " another one");
    }
    Module shared = shortcut == null ? null : shortcut.shared(body);
    if (shared != null) {
      throw new IllegalArgumentException(
          "body and shortcut share the module "
              + shared
              + "; it keeps the input of one forward, so make another one");
    }
    this.body = body;
    this.shortcut = shortcut;
    this.activation = activation;
    activationLayer =
        switch (activation.kind()) {
          case NONE -> null;
          case RELU -> new ReLU();
          case LEAKY_RELU -> new LeakyReLU(activation.slope());
        };
  }

  /** What the shortcut goes around. */
  public Module body() {
    return body;
  }

  /** What is added; null for the input itself. */
  public @Nullable Module shortcut() {
    return shortcut;
  }

  /** What prints as the activation; null if there is none. */
  @Nullable Elementwise activationLayer() {
    return activationLayer;
  }

  /** What is applied to the sum. */
  public Activation activation() {
    return activation;
  }

  /** The batch norm at the end of the module, which can sum and activate too; null if none. */
  private static @Nullable BatchNorm finalBatchNorm(Module module) {
    if (module instanceof Sequential s && s.size() > 0) {
      return finalBatchNorm(s.get(s.size() - 1));
    }
    return module instanceof BatchNorm bn ? bn : null;
  }

  /**
   * {@code activation(module(x) + residual)} in one pass, where the module ends in a batch norm.
   */
  static Tensor forward(Module module, Tensor x, Tensor residual, Activation activation) {
    return module instanceof Sequential s
        ? s.forward(x, residual, activation)
        : ((BatchNorm) module).forward(x, residual, activation);
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code x} is not f32 or is this module's own output, if
   *     body or shortcut refuse it, or if their outputs differ in shape or memory format
   * @throws IllegalStateException if {@code x} or the module is closed
   */
  @Override
  public Tensor forward(Tensor x) {
    Layer.checkFloats("Residual", "x", x);
    Layer.checkShared("Residual", "x", x);
    if (output.overlaps(x) || lastY != null && !lastY.isClosed() && lastY.overlaps(x)) {
      throw new IllegalArgumentException(
          "x is this Residual's own output, which the call would overwrite; copy it first");
    }
    checkAhead(x.shape());
    lastX = null;
    Tensor other = x;
    if (shortcut != null) {
      try {
        other = shortcut.forward(x);
      } catch (IllegalArgumentException refused) {
        throw Sequential.refusedBy("shortcut", refused);
      }
    }
    BatchNorm summing = finalBatchNorm(body);
    Tensor y;
    try {
      y = summing == null ? body.forward(x) : forward(body, x, other, activation);
    } catch (IllegalArgumentException refused) {
      throw Sequential.refusedBy("body", refused);
    }
    if (summing == null) {
      checkSummands(y.shape(), other.shape());
      if (!Layer.isSameOrder(y, other)) {
        throw new IllegalArgumentException(
            "the outputs of body and shortcut must be contiguous and in the same memory format, but"
                + " got "
                + y
                + " and "
                + other);
      }
      y = sum(y, other, activationLayer, output);
    }
    lastX = x;
    lastY = y;
    lastSummedBy = summing;
    return y;
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if {@code dy} is not f32 or differs from the output in shape
   *     or memory format
   * @throws IllegalStateException if there was no forward, or something it used is closed
   */
  @Override
  public Tensor backward(Tensor dy) {
    Tensor x = lastX;
    Tensor y = lastY;
    if (x == null || y == null) {
      throw new IllegalStateException(
          "Residual.backward needs the input of a forward: call forward first");
    }
    Layer.checkFloats("Residual", "dy", dy);
    Layer.checkShared("Residual", "dy", dy);
    Layer.checkGradient("Residual", dy, y);
    if (masked.overlaps(dy) || gradient.overlaps(dy)) {
      throw new IllegalArgumentException(
          "dy is this Residual's own gradient, which the call would overwrite; copy it first");
    }
    Tensor viaBody;
    Tensor viaShortcut;
    if (lastSummedBy == null) {
      viaShortcut = activationLayer == null ? dy : mask(dy, y, activationLayer);
      viaBody = body.backward(viaShortcut);
    } else {
      viaBody = body.backward(dy);
      viaShortcut = lastSummedBy.residualGrad();
    }
    if (shortcut != null) {
      viaShortcut = shortcut.backward(viaShortcut);
    }
    return sum(viaBody, viaShortcut, null, gradient);
  }

  private Tensor sum(Tensor a, Tensor b, @Nullable Elementwise function, Slot slot) {
    Tensor out = slot.propose(a);
    Tensor[] used = {a, b, out};
    InUse.acquire(used);
    slot.adopt();
    try {
      chunks.forEach(
          out.size(),
          (first, second, at, n) -> {
            TensorAccess.read(a, at, first, 0, n);
            TensorAccess.read(b, at, second, 0, n);
            for (int i = 0; i < n; i++) {
              first[i] += second[i];
            }
            if (function != null) {
              function.apply(first, n, at);
            }
            TensorAccess.write(out, at, first, 0, n);
          });
    } finally {
      InUse.release(used);
    }
    return out;
  }

  /** The gradient of the sum. Both functions can be differentiated by their output as well. */
  private Tensor mask(Tensor dy, Tensor y, Elementwise function) {
    Tensor out = masked.propose(y);
    Tensor[] used = {dy, y, out};
    InUse.acquire(used);
    masked.adopt();
    try {
      chunks.forEach(
          out.size(),
          (first, second, at, n) -> {
            TensorAccess.read(y, at, first, 0, n);
            TensorAccess.read(dy, at, second, 0, n);
            function.applyGradient(first, second, n, at);
            TensorAccess.write(out, at, second, 0, n);
          });
    } finally {
      InUse.release(used);
    }
    return out;
  }

  private static void checkSummands(Shape body, Shape shortcut) {
    if (!body.equals(shortcut)) {
      throw new IllegalArgumentException(
          "body and shortcut must give the same shape, but got " + body + " and " + shortcut);
    }
  }

  @Override
  public Shape outputShape(Shape x) {
    return through(x, Module::outputShape);
  }

  @Override
  Shape check(Shape x) {
    return through(x, Module::check);
  }

  private Shape through(Shape x, BiFunction<Module, Shape, Shape> step) {
    Shape viaShortcut = x;
    if (shortcut != null) {
      try {
        viaShortcut = step.apply(shortcut, x);
      } catch (IllegalArgumentException refused) {
        throw Sequential.refusedBy("shortcut", refused);
      }
    }
    Shape viaBody;
    try {
      viaBody = step.apply(body, x);
    } catch (IllegalArgumentException refused) {
      throw Sequential.refusedBy("body", refused);
    }
    checkSummands(viaBody, viaShortcut);
    return viaBody;
  }

  @Override
  protected Map<String, Module> children() {
    Map<String, Module> children = new LinkedHashMap<>();
    children.put("body", body);
    if (shortcut != null) {
      children.put("shortcut", shortcut);
    }
    return Collections.unmodifiableMap(children);
  }

  @Override
  Residual copy() {
    return withMode(
        new Residual(body.copy(), shortcut == null ? null : shortcut.copy(), activation));
  }

  @Override
  public void close() {
    lastX = null;
    lastY = null;
    super.close();
    output.close();
    masked.close();
    gradient.close();
  }

  /** In PyTorch's form. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder("Residual(\n");
    children().forEach((name, module) -> Sequential.append(text, name, module));
    if (activationLayer != null) {
      Sequential.append(text, "activation", activationLayer);
    }
    return text.append(')').toString();
  }
}
