package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.Tensor;

/**
 * Layers one after another, like {@code torch.nn.Sequential}; unnamed ones are called {@code 0},
 * {@code 1} and so on.
 *
 * <p>Shapes are checked layer by layer: when a layer refuses its input, those before it have
 * already run, and a batch norm among them has counted the batch.
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
   * @param layer the layer, which must not occur twice: it keeps the input of one forward
   * @throws IllegalArgumentException if the name is empty, contains a dot or is taken, or the layer
   *     is already here
   */
  public Sequential add(String name, Module layer) {
    if (name.isEmpty() || name.contains(".")) {
      throw new IllegalArgumentException(
          "name must not be empty and must not contain a dot, but got \"" + name + "\"");
    }
    if (layers.containsKey(name)) {
      throw new IllegalArgumentException("there is already a layer called \"" + name + "\"");
    }
    for (Map.Entry<String, Module> e : layers.entrySet()) {
      if (e.getValue() == layer) {
        throw new IllegalArgumentException(
            "the layer "
                + layer
                + " is already here, as \""
                + e.getKey()
                + "\"; it keeps the input of one forward, so make another one");
      }
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
    differentiable = false;
    Tensor y = x;
    for (Map.Entry<String, Module> e : layers.entrySet()) {
      try {
        y = e.getValue().forward(y);
      } catch (IllegalArgumentException refused) {
        throw new IllegalArgumentException(
            "layer " + e.getKey() + ": " + refused.getMessage(), refused);
      }
    }
    differentiable = true;
    return y;
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
    layers.forEach(
        (name, layer) ->
            text.append("  (")
                .append(name)
                .append("): ")
                .append(layer.toString().replace("\n", "\n  "))
                .append('\n'));
    return text.append(')').toString();
  }
}
