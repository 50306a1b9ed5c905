package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import org.batchnorm4j.backend.Activation;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * Layers one after another, like {@code torch.nn.Sequential}; unnamed ones are called {@code 0},
 * {@code 1} and so on.
 *
 * <p>Shapes are checked through all layers before the first one runs, as far as each says what
 * comes out of it: an input of a shape that a layer cannot take changes nothing. What a layer
 * refuses for another reason, such as its type, its memory format or because something is closed,
 * it refuses when those before it have run: a batch norm among them that is in training mode has
 * then counted the batch and moved its running statistics. The same holds of a {@link Residual}.
 */
public final class Sequential extends Module {
  private final Map<String, Module> layers = new LinkedHashMap<>();
  private boolean differentiable;

  /** With these layers, called {@code 0}, {@code 1} and so on. */
  public Sequential(Module... layers) {
    for (Module layer : layers) {
      add(layer);
    }
  }

  /** Appends a layer that is called by its index. */
  public Sequential add(Module layer) {
    return add(Integer.toString(layers.size()), layer);
  }

  /**
   * Appends a layer.
   *
   * @param name what {@link #namedParameters} calls it
   * @param layer the layer, which must not occur twice, at whatever depth: it keeps the input of
   *     one forward
   * @throws IllegalArgumentException if the name is empty, contains a dot or is taken, or the layer
   *     or one within it is already here
   */
  public Sequential add(String name, Module layer) {
    if (name.isEmpty() || name.contains(".")) {
      throw new IllegalArgumentException(
          "name must not be empty and must not contain a dot, but got \"" + name + "\"");
    }
    if (layers.containsKey(name)) {
      throw new IllegalArgumentException("there is already a layer called \"" + name + "\"");
    }
    Module shared = layer.shared(this);
    for (Map.Entry<String, Module> e : layers.entrySet()) {
      if (shared != null && e.getValue().modules().contains(shared)) {
        throw new IllegalArgumentException(
            "the layer "
                + shared
                + " is already here, as \""
                + e.getKey()
                + (e.getValue() == shared ? "\"" : "\" or within it")
                + "; it keeps the input of one forward, so make another one");
      }
    }
    if (shared != null) {
      throw new IllegalArgumentException("a Sequential cannot be a layer of itself");
    }
    layers.put(name, layer);
    differentiable = false;
    return this;
  }

  /** The number of layers. */
  public int size() {
    return layers.size();
  }

  /** The layer at this index. */
  public Module get(int index) {
    return new ArrayList<>(layers.values()).get(index);
  }

  /**
   * The layer with this name.
   *
   * @throws IllegalArgumentException if there is none
   */
  public Module get(String name) {
    Module layer = layers.get(name);
    if (layer == null) {
      throw new IllegalArgumentException(
          "there is no layer called \"" + name + "\"; there are " + layers.keySet());
    }
    return layer;
  }

  /** The layers by name, in order. */
  @Override
  public Map<String, Module> children() {
    return Collections.unmodifiableMap(layers);
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if a layer refuses its input; the message begins with its name
   */
  @Override
  public Tensor forward(Tensor x) {
    return forward(x, Module::forward);
  }

  /** {@code activation(forward(x) + residual)}, where the last layer can do all of that. */
  Tensor forward(Tensor x, Tensor residual, Activation activation) {
    return forward(x, (last, h) -> Residual.forward(last, h, residual, activation));
  }

  private interface Last {
    Tensor forward(Module last, Tensor x);
  }

  private Tensor forward(Tensor x, Last finish) {
    checkAhead(x.shape());
    differentiable = false;
    Tensor y = x;
    int left = layers.size();
    for (Map.Entry<String, Module> e : layers.entrySet()) {
      Module layer = e.getValue();
      left--;
      try {
        y = left > 0 ? layer.forward(y) : finish.forward(layer, y);
      } catch (IllegalArgumentException refused) {
        throw refusedBy("layer " + e.getKey(), refused);
      }
    }
    differentiable = true;
    return y;
  }

  /** What was refused, and by whom. */
  static IllegalArgumentException refusedBy(String who, IllegalArgumentException refused) {
    return new IllegalArgumentException(who + ": " + refused.getMessage(), refused);
  }

  @Override
  public Tensor backward(Tensor dy) {
    if (!differentiable) {
      throw new IllegalStateException(
          "Sequential.backward needs the inputs of a forward: call forward first");
    }
    List<Module> reversed = new ArrayList<>(layers.values());
    Collections.reverse(reversed);
    Tensor dx = dy;
    for (Module layer : reversed) {
      dx = layer.backward(dx);
    }
    return dx;
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException if a layer refuses its input; the message begins with its name
   */
  @Override
  public Shape outputShape(Shape x) {
    return through(x, Module::outputShape);
  }

  @Override
  Shape check(Shape x) {
    return through(x, Module::check);
  }

  private Shape through(Shape x, BiFunction<Module, Shape, Shape> step) {
    Shape shape = x;
    for (Map.Entry<String, Module> e : layers.entrySet()) {
      try {
        shape = step.apply(e.getValue(), shape);
      } catch (IllegalArgumentException refused) {
        throw refusedBy("layer " + e.getKey(), refused);
      }
    }
    return shape;
  }

  @Override
  Sequential copy() {
    Sequential copy = new Sequential();
    layers.forEach((name, layer) -> copy.add(name, layer.copy()));
    return withMode(copy);
  }

  /**
   * A table of the layers: what comes out of each for an input of this shape, and how many
   * parameters it has. Nothing is computed.
   *
   * @param inputShape samples included, such as 64, 1, 28, 28
   * @throws IllegalArgumentException if a layer cannot take what the one before it gives
   * @throws UnsupportedOperationException if a layer does not say what comes out of it
   */
  public String summary(long... inputShape) {
    return Summary.of(this, Shape.of(inputShape));
  }

  /**
   * A picture of the network in the language of Graphviz: {@code dot -Tsvg} draws it. Nested
   * networks are boxes around their layers, a {@link Residual} forks and joins.
   */
  public String toDot() {
    return Graphviz.of(this);
  }

  /**
   * A copy of this network for evaluation alone, with fewer passes over memory: a batch norm behind
   * a convolution or a Linear is folded into its weights (see {@link Fusion}); a batch norm and the
   * ReLU or LeakyReLU behind it become one module, whose state has the batch norm's names; one at
   * the end of a {@link Residual}'s body stays, as it does the sum and the activation as well;
   * Dropout is left out. Layers keep their names. It shares no memory with this network.
   *
   * <p>The copy, and each part of it, cannot be put into training mode. Its results are those of
   * this network but for rounding where something was folded, and the same bits where nothing was.
   *
   * @throws IllegalStateException if this network or a layer of it is in training mode or closed
   * @throws IllegalArgumentException if a layer is not one of this package
   */
  public Sequential fuse() {
    return Fusion.fuse(this);
  }

  @Override
  public Sequential backend(BatchNormBackend backend) {
    super.backend(backend);
    return this;
  }

  /** The layers with their options, in PyTorch's form. */
  @Override
  public String toString() {
    if (layers.isEmpty()) {
      return "Sequential()";
    }
    StringBuilder text = new StringBuilder("Sequential(\n");
    layers.forEach((name, layer) -> append(text, name, layer));
    return text.append(')').toString();
  }

  /** Appends a line, or several, as PyTorch lists the parts of a module. */
  static void append(StringBuilder text, String name, Module module) {
    text.append("  (")
        .append(name)
        .append("): ")
        .append(module.toString().replace("\n", "\n  "))
        .append('\n');
  }
}
