package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.batchnorm4j.backend.BatchNormBackend;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A layer or a network of layers, like {@code torch.nn.Module}.
 *
 * <p>{@link #forward} and {@link #backward} return tensors that belong to the module and are
 * overwritten by its next forward or backward: steady state allocates no tensor. Copy what you want
 * to keep. {@code backward} takes the gradient of the last forward's output and returns that of its
 * input, and needs that input unchanged; gradients of parameters are left in {@link
 * Parameter#grad}.
 *
 * <p>A module is used by one thread at a time, unless a method says otherwise. A call that throws
 * has changed nothing; of a network this holds as far as {@link Sequential} says.
 *
 * <p><b>Modules of your own</b> extend this class, and say what is in them by {@link #children},
 * {@link #ownParameters} and {@link #ownBuffers}. They can be in networks, which are trained,
 * loaded and saved as others are; with {@link #outputShape} shapes are checked ahead through them
 * too. Only this package's can be copied: {@link Sequential#fuse} and {@link InferenceModel#of}
 * refuse a network with any other.
 */
public abstract class Module implements AutoCloseable {
  private static final String COUNTER = "num_batches_tracked";

  private boolean training = true;
  private boolean fused;

  /** Computes the output. */
  public abstract Tensor forward(Tensor x);

  /**
   * Computes the gradients of the last forward.
   *
   * @throws IllegalStateException if there was no forward to differentiate
   */
  public abstract Tensor backward(Tensor dy);

  /**
   * The shape of {@link #forward}'s output for an input of this shape.
   *
   * @throws IllegalArgumentException if the module cannot take such an input
   * @throws UnsupportedOperationException if the module does not say; those of this package do
   */
  public Shape outputShape(Shape x) {
    throw new UnsupportedOperationException(
        getClass().getSimpleName()
            + " does not say what shape comes out of it: override outputShape");
  }

  /**
   * {@link #outputShape}, but throws also where it is the present mode in which {@link #forward}
   * refuses such a shape.
   */
  Shape check(Shape x) {
    return outputShape(x);
  }

  /**
   * Lets a network refuse a shape before anything has run, so that no batch norm counts a batch
   * that a later layer refuses. As far as the modules say what comes out of them.
   */
  final void checkAhead(Shape x) {
    try {
      check(x);
    } catch (UnsupportedOperationException doesNotSay) {
      // Then only the forward can tell.
    }
  }

  /**
   * A module of the same class, options and mode, with copies of the values. What a forward leaves
   * behind is not copied.
   */
  Module copy() {
    throw new IllegalArgumentException(
        getClass().getSimpleName() + " cannot be copied: only modules of this package can");
  }

  /** A short name of what it is. */
  String label() {
    return getClass().getSimpleName();
  }

  /** Completes a {@link #copy}: gives {@code blank}, of the same class and options, this state. */
  final <M extends Module> M withState(M blank) {
    blank.loadStateDict(stateDict());
    return withMode(blank);
  }

  /** Gives {@code copy}, but not those below it, the mode of this module. */
  final <M extends Module> M withMode(M copy) {
    Module module = copy;
    module.setMode(training);
    module.fused = fused;
    return copy;
  }

  /** This module, or what has taken its place. */
  Module settled() {
    return this;
  }

  /** Sub-modules by name, in order. */
  protected Map<String, Module> children() {
    return Map.of();
  }

  /** This module's own parameters by name, in PyTorch's order. */
  protected Map<String, Parameter> ownParameters() {
    return Map.of();
  }

  /** This module's own state that is not trained, by name, in PyTorch's order. */
  protected Map<String, Tensor> ownBuffers() {
    return Map.of();
  }

  /** Called after values were loaded into the tensors of {@link #ownBuffers}. */
  void buffersLoaded() {}

  /**
   * Called before a load looks at this module's tensors: one that has none yet makes them, of the
   * shapes given. {@link #loadRefused} or {@link #buffersLoaded} follows.
   *
   * @param state the whole state; this module's names begin with {@code prefix}
   */
  void loading(Map<String, Tensor> state, String prefix) {}

  /** Undoes {@link #loading}. */
  void loadRefused() {}

  /**
   * Training mode, for this module and all below it.
   *
   * @throws IllegalStateException if one of them was made by {@link Sequential#fuse}
   */
  public final Module train() {
    return train(true);
  }

  /** Evaluation mode, for this module and all below it. */
  public final Module eval() {
    return train(false);
  }

  /**
   * Sets the mode of this module and all below it.
   *
   * @throws IllegalStateException if {@code mode} is true and one of them was made by {@link
   *     Sequential#fuse}
   */
  public final Module train(boolean mode) {
    if (mode) {
      collect("", (prefix, m) -> m.checkTrainable());
    }
    collect("", (prefix, m) -> m.setMode(mode));
    return this;
  }

  /** Makes this module and all below it evaluate for ever. */
  final void setFused() {
    collect(
        "",
        (prefix, m) -> {
          m.setMode(false);
          m.fused = true;
        });
  }

  /** Throws if the module can only evaluate. */
  final void checkTrainable() {
    if (fused) {
      throw new IllegalStateException(
          "this "
              + label()
              + " was made by fuse() and can only evaluate: train the network it was made from, and"
              + " fuse that again");
    }
  }

  /** Sets the mode of this module and of none below it. */
  void setMode(boolean mode) {
    training = mode;
  }

  /** This module and all below it. */
  final List<Module> modules() {
    List<Module> all = new ArrayList<>();
    collect("", (prefix, m) -> all.add(m));
    return all;
  }

  /** A module, or one within it, that is the other or within that too; null if there is none. */
  final @Nullable Module shared(Module other) {
    Set<Module> others = Collections.newSetFromMap(new IdentityHashMap<>());
    others.addAll(other.modules());
    return modules().stream().filter(others::contains).findFirst().orElse(null);
  }

  /** Whether the module is in training mode, as it is when made. */
  public final boolean isTraining() {
    return training;
  }

  /** Makes this module and all below it normalize on the given backend. */
  public Module backend(BatchNormBackend backend) {
    children().values().forEach(child -> child.backend(backend));
    return this;
  }

  /** All parameters by PyTorch's names, such as {@code 1.weight}, in PyTorch's order. */
  public final Map<String, Parameter> namedParameters() {
    Map<String, Parameter> all = new LinkedHashMap<>();
    collect("", (prefix, m) -> m.ownParameters().forEach((k, v) -> all.put(prefix + k, v)));
    return all;
  }

  /** All parameters. */
  public final List<Parameter> parameters() {
    return new ArrayList<>(namedParameters().values());
  }

  /** All buffers by PyTorch's names, such as {@code 1.running_mean}. */
  public final Map<String, Tensor> namedBuffers() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    collect("", (prefix, m) -> m.ownBuffers().forEach((k, v) -> all.put(prefix + k, v)));
    return all;
  }

  /** Parameters and buffers by PyTorch's names, module by module; the live tensors, not copies. */
  public final Map<String, Tensor> stateDict() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    collect(
        "",
        (prefix, m) -> {
          m.ownParameters().forEach((k, v) -> all.put(prefix + k, v.value()));
          m.ownBuffers().forEach((k, v) -> all.put(prefix + k, v));
        });
    return all;
  }

  /** {@link #loadStateDict(Map, boolean)}, strict. */
  public final void loadStateDict(Map<String, Tensor> state) {
    loadStateDict(state, true);
  }

  /**
   * Copies the given values into this module's parameters and buffers. All or nothing: every name
   * and shape is checked first. As in PyTorch, files older than its counters load: without {@code
   * num_batches_tracked} the counter stays as it is, and shape [1] will do for a scalar.
   *
   * @param strict whether a key that only one side has is an error; if not, it is left out
   * @return the keys that only one side has; none if strict
   * @throws IllegalStateException in PyTorch's words, if strict and a key is missing or unexpected,
   *     or, strict or not, if a shape differs, or a tensor is null, closed or cannot be written
   */
  public final IncompatibleKeys loadStateDict(Map<String, Tensor> state, boolean strict) {
    collect("", (prefix, m) -> m.loading(state, prefix));
    Map<String, Tensor> own = stateDict();
    List<String> missing = new ArrayList<>(own.keySet());
    missing.removeAll(state.keySet());
    missing.removeIf(key -> key.equals(COUNTER) || key.endsWith("." + COUNTER));
    List<String> unexpected = new ArrayList<>(state.keySet());
    unexpected.removeAll(own.keySet());
    StringBuilder errors = new StringBuilder();
    if (strict && !missing.isEmpty()) {
      errors.append("\n\tMissing key(s) in state_dict: ").append(quoted(missing)).append(". ");
    }
    if (strict && !unexpected.isEmpty()) {
      errors
          .append("\n\tUnexpected key(s) in state_dict: ")
          .append(quoted(unexpected))
          .append(". ");
    }
    own.forEach(
        (key, tensor) -> {
          Tensor given = state.get(key);
          if (given == null && state.containsKey(key)) {
            errors.append("\n\tnull instead of a tensor for ").append(key).append('.');
          } else if (given != null && tensor.isReadOnly()) {
            errors.append("\n\tread-only tensor in this module: ").append(key).append('.');
          } else if (given != null && !isReadable(given)) {
            errors.append("\n\tclosed tensor for ").append(key).append('.');
          } else if (given != null && !isReadable(tensor)) {
            errors.append("\n\tclosed tensor in this module: ").append(key).append('.');
          } else if (given != null && !fits(given.shape(), tensor.shape())) {
            errors
                .append("\n\tsize mismatch for ")
                .append(key)
                .append(": copying a param with shape torch.Size(")
                .append(given.shape())
                .append(") from checkpoint, the shape in current model is torch.Size(")
                .append(tensor.shape())
                .append(").");
          }
        });
    if (!errors.isEmpty()) {
      collect("", (prefix, m) -> m.loadRefused());
      throw new IllegalStateException(
          "Error(s) in loading state_dict for " + getClass().getSimpleName() + ":" + errors);
    }
    // Of tensors that are written before they are read, as when layers are swapped, copies.
    Map<String, Tensor> copies = new HashMap<>();
    state.forEach(
        (key, given) -> {
          Tensor target = own.get(key);
          if (given != null
              && own.values().stream().anyMatch(t -> t != target && t.overlaps(given))) {
            copies.put(key, Tensor.zerosLike(given).copyFrom(given));
          }
        });
    own.forEach(
        (key, tensor) -> {
          Tensor given = copies.getOrDefault(key, state.get(key));
          if (given != null) {
            tensor.copyFrom(tensor.shape().rank() == 0 ? given.reshape() : given);
          }
        });
    copies.values().forEach(Tensor::close);
    collect("", (prefix, m) -> m.buffersLoaded());
    return new IncompatibleKeys(List.copyOf(missing), List.copyOf(unexpected));
  }

  /** Whether it is neither closed nor in an arena that is for another thread. */
  private static boolean isReadable(Tensor t) {
    try {
      t.checkUsable();
      return true;
    } catch (IllegalStateException e) {
      return false;
    }
  }

  private static boolean fits(Shape given, Shape own) {
    return given.equals(own) || own.rank() == 0 && given.rank() == 1 && given.dim(0) == 1;
  }

  private static String quoted(Iterable<String> names) {
    return '"' + String.join("\", \"", names) + '"';
  }

  private interface Visitor {
    void visit(String prefix, Module module);
  }

  private void collect(String prefix, Visitor visitor) {
    visitor.visit(prefix, this);
    children().forEach((name, child) -> child.collect(prefix + name + ".", visitor));
  }

  /** Gives back all memory of this module and those below it. Idempotent. */
  @Override
  public void close() {
    children().values().forEach(Module::close);
    ownParameters().values().forEach(Parameter::close);
    ownBuffers().values().forEach(Tensor::close);
  }
}
