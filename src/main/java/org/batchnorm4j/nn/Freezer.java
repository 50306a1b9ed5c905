package org.batchnorm4j.nn;

import java.util.ArrayList;
import java.util.List;
import org.batchnorm4j.backend.Backends;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.backend.NativeBackend;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.jspecify.annotations.Nullable;

/**
 * Makes the steps of an {@link InferenceModel}, and says in which buffers they compute. A buffer is
 * used again as soon as nobody needs what is in it. Shapes are those of one sample, with a first
 * dimension of 1.
 */
final class Freezer {

  /** A step, the buffer it reads and the buffer it writes. */
  record Op(Step step, int in, int out) {}

  /** What a layer gives: where it lies, and its shape. */
  private record Value(int buffer, Shape shape) {}

  private final List<Op> ops = new ArrayList<>();

  /** For each buffer the numbers it has for a sample. */
  private final List<Integer> sizes = new ArrayList<>();

  /** For each buffer how many layers still need what is in it. */
  private final List<Integer> needed = new ArrayList<>();

  private final Value input;
  private final Value output;

  /**
   * Copies and freezes the module.
   *
   * @throws IllegalArgumentException if it cannot take such input or has a layer that cannot be
   *     frozen
   */
  Freezer(Module module, Shape sample) {
    input = new Value(buffer(sample), sample);
    output = freezeAll(List.of(module), input);
  }

  /** What is to be done, in order. */
  List<Op> ops() {
    return ops;
  }

  /** For each buffer the numbers it has for a sample. */
  List<Integer> sizes() {
    return sizes;
  }

  /** The buffer that the input is put in. */
  int in() {
    return input.buffer;
  }

  /** The buffer that the output is taken from. */
  int out() {
    return output.buffer;
  }

  /** The shape of the output. */
  Shape outputShape() {
    return output.shape;
  }

  // --------------------------------------------------------------------------------------- buffers

  /** A buffer for a new value. */
  private int buffer(Shape shape) {
    int size = Math.toIntExact(shape.size());
    int i = needed.indexOf(0);
    if (i < 0) {
      needed.add(1);
      sizes.add(size);
      return sizes.size() - 1;
    }
    needed.set(i, 1);
    sizes.set(i, Math.max(sizes.get(i), size));
    return i;
  }

  private void use(Value value, int times) {
    needed.set(value.buffer, needed.get(value.buffer) + times);
  }

  private Value apply(Step step, Value x, Shape shape) {
    Value y = new Value(buffer(shape), shape);
    ops.add(new Op(step, x.buffer, y.buffer));
    use(x, -1);
    return y;
  }

  /** For a step that does not mind if input and output are the same. */
  private Value applyInPlace(Step step, Value x) {
    if (needed.get(x.buffer) > 1) {
      return apply(step, x, x.shape);
    }
    ops.add(new Op(step, x.buffer, x.buffer));
    return x;
  }

  // ---------------------------------------------------------------------------------------- layers

  /** Layers one after another. What does nothing is left out, and what can be folded is. */
  private Value freezeAll(List<Module> modules, Value x) {
    List<Module> layers = new ArrayList<>();
    modules.forEach(m -> flatten(m, layers));
    List<SmallDenseStep.Layer> small = new ArrayList<>();
    Value value = x;
    for (int i = 0; i < layers.size(); i++) {
      Module next = i + 1 < layers.size() ? layers.get(i + 1) : null;
      Module folded = fold(layers.get(i), next, value.shape);
      Module layer = folded == null ? copyOf(layers.get(i)) : folded;
      i += folded == null ? 0 : 1;
      Module behind = i + 1 < layers.size() ? layers.get(i + 1) : null;
      if (layer instanceof Linear linear && SmallDenseStep.isFor(linear)) {
        boolean relu = behind instanceof ReLU;
        i += relu ? 1 : 0;
        SmallDenseStep.Layer values = SmallDenseStep.Layer.of(linear, relu);
        linear.close();
        if (!SmallDenseStep.canFollow(small, values)) {
          value = freezeSmall(small, value);
        }
        small.add(values);
      } else {
        value = freeze(layer, freezeSmall(small, value));
      }
    }
    return freezeSmall(small, value);
  }

  /** A copy; of a residual block, the parts of which are copied one by one, the block itself. */
  private static Module copyOf(Module layer) {
    return layer instanceof Residual ? layer : layer.copy();
  }

  private static void flatten(Module module, List<Module> layers) {
    if (module instanceof Sequential s) {
      s.children().values().forEach(m -> flatten(m, layers));
    } else if (!(module instanceof Dropout)) {
      layers.add(module.settled());
    }
  }

  private static @Nullable Module fold(Module layer, @Nullable Module next, Shape shape) {
    // Of (N, C, L) a batch norm looks at another dimension than Linear.
    boolean possible = next != null && !(layer instanceof Linear && shape.rank() != 2);
    return possible ? Fusion.foldPair(layer, next) : null;
  }

  /** Freezes one layer, which nobody else uses: but for a residual block it is a copy. */
  private Value freeze(Module layer, Value x) {
    Shape shape = layer.outputShape(x.shape);
    if (layer instanceof Flatten) {
      return new Value(x.buffer, shape);
    }
    if (layer instanceof Linear linear) {
      int rows = Math.toIntExact(x.shape.size() / linear.inFeatures());
      Step step = new DenseStep(linear, rows);
      linear.close();
      return apply(step, x, shape);
    }
    if (layer instanceof Conv conv) {
      return apply(conv.freeze(x.shape), x, shape);
    }
    if (layer instanceof MaxPool pool) {
      return apply(pool.freeze(x.shape), x, shape);
    }
    if (layer instanceof BatchNorm bn) {
      return freezeBatchNorm(bn, x);
    }
    if (layer instanceof FusedBatchNorm both) {
      return freezeFunction(both.function(), freezeBatchNorm(both.batchNorm(), x));
    }
    if (layer instanceof Elementwise function) {
      return freezeFunction(function, x);
    }
    if (layer instanceof Residual residual) {
      return freezeResidual(residual, x);
    }
    if (layer instanceof SampleNorm norm && norm.dtype() != DType.F32) {
      throw notF32(layer, norm.dtype());
    }
    if (layer instanceof LazyBatchNorm) {
      throw new IllegalArgumentException(
          layer + " has seen no input yet and cannot be frozen: call forward first");
    }
    try {
      // What is normalized by itself can be too small for that, in a part of a batch too.
      layer.eval().check(x.shape);
    } catch (IllegalArgumentException refused) {
      throw Sequential.refusedBy(layer.toString(), refused);
    }
    return apply(new ModuleStep(layer, x.shape), x, shape);
  }

  /** Makes one step of these layers, if there are any, and empties the list. */
  private Value freezeSmall(List<SmallDenseStep.Layer> layers, Value x) {
    if (layers.isEmpty()) {
      return x;
    }
    int rows = Math.toIntExact(x.shape.size() / layers.get(0).in());
    NativeBackend backend = nativeBackend();
    Isa isa = backend == null || backend.isa() == Isa.SCALAR ? null : backend.isa();
    Step step = new SmallDenseStep(layers, rows, isa);
    int out = layers.get(layers.size() - 1).out();
    layers.clear();
    return apply(step, x, x.shape.with(x.shape.rank() - 1, out));
  }

  private Value freezeBatchNorm(BatchNorm bn, Value x) {
    if (bn.runningMean() == null) {
      throw new IllegalArgumentException(
          bn
              + " has no running statistics: it normalizes with those of each batch, and cannot be"
              + " frozen");
    }
    if (bn.runningMean().dtype() != DType.F32) {
      throw notF32(bn, bn.runningMean().dtype());
    }
    int positions = Math.toIntExact(x.shape.size() / bn.numFeatures());
    Value y = applyInPlace(new BatchNormStep(bn, positions, nativeBackend()), x);
    bn.close();
    return y;
  }

  private static IllegalArgumentException notF32(Module layer, DType dtype) {
    return new IllegalArgumentException(
        layer + " is " + dtype + ", but an InferenceModel computes in F32");
  }

  /** What the switches allow of native code, or null for Java. */
  private static @Nullable NativeBackend nativeBackend() {
    return Backends.best() instanceof NativeBackend b ? b : null;
  }

  private Value freezeFunction(Elementwise function, Value x) {
    int size = (int) x.shape.size();
    Step.Pure step;
    if (function instanceof LeakyReLU leaky) {
      float slope = (float) leaky.negativeSlope();
      step = (from, to, n) -> leakyRelu(from, to, n * size, slope);
    } else {
      step = (from, to, n) -> relu(from, to, n * size);
    }
    return applyInPlace(step, x);
  }

  // In a form that HotSpot makes vectors of. The sign of a zero may be another than ReLU's.

  private static void relu(float[] from, float[] to, int n) {
    for (int i = 0; i < n; i++) {
      to[i] = Math.max(from[i], 0);
    }
  }

  private static void leakyRelu(float[] from, float[] to, int n, float slope) {
    for (int i = 0; i < n; i++) {
      to[i] = Math.max(from[i], 0) + slope * Math.min(from[i], 0);
    }
  }

  private Value freezeResidual(Residual residual, Value x) {
    use(x, 1);
    Value viaBody = freezeAll(List.of(residual.body()), x);
    Module around = residual.shortcut();
    Value viaShortcut = around == null ? x : freezeAll(List.of(around), x);
    int size = (int) viaBody.shape.size();
    if (needed.get(viaBody.buffer) > 1) {
      Step.Pure copy = (from, to, n) -> System.arraycopy(from, 0, to, 0, n * size);
      viaBody = apply(copy, viaBody, viaBody.shape);
    }
    Step.Pure sum =
        (from, to, n) -> {
          for (int i = 0; i < n * size; i++) {
            to[i] += from[i];
          }
        };
    ops.add(new Op(sum, viaShortcut.buffer, viaBody.buffer));
    use(viaShortcut, -1);
    Elementwise function = residual.activationLayer();
    return function == null ? viaBody : freezeFunction(function, viaBody);
  }
}
