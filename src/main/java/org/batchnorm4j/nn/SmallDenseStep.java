package org.batchnorm4j.nn;

import java.util.List;
import org.batchnorm4j.backend.Isa;
import org.batchnorm4j.backend.jni.BatchNormNative;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * Linears one after another, with the ReLUs behind them, whose weights stay in the cache, where a
 * call into OpenBLAS would take longer than the product. An output is its bias and then one fma for
 * each input, in order, in Java and in native code: the bits depend neither on that nor on the
 * number of rows.
 */
final class SmallDenseStep implements Step {
  private static final int MOST_WEIGHTS = 1 << 14;

  /** What a row may have at most between layers, {@code BN_DENSE_WIDTH} in the C header. */
  private static final int WIDTH = 128;

  /** Products of one native call, which takes far less than a millisecond. */
  private static final int SLICE = 1 << 20;

  private static final int LANES = 16;

  /**
   * The values of a Linear.
   *
   * @param byInput weights by input and then output, so that the outputs of one input are
   *     neighbours
   * @param relu whether a ReLU follows
   */
  record Layer(int in, int out, float[][] byInput, float[] bias, boolean relu) {

    /** A copy. */
    static Layer of(Linear linear, boolean relu) {
      return new Layer(
          linear.inFeatures(),
          linear.outFeatures(),
          DenseStep.byInput(linear),
          DenseStep.bias(linear),
          relu);
    }

    private int weights() {
      return in * out;
    }

    private boolean isNarrow() {
      return in <= WIDTH && out <= WIDTH;
    }
  }

  private final List<Layer> layers;
  private final int in;
  private final int out;
  private final int weights;
  private final int rowsPerSample;

  /**
   * The instruction set of the native kernel, which is none for SCALAR; null to compute in Java.
   */
  private final @Nullable Isa isa;

  /** The layers' parameters for native code: weights by input, then the bias, padded with zeros. */
  private final Tensor parameters;

  /** What {@link BatchNormNative#bn_dense} takes. */
  private final long[] described;

  static boolean isFor(Linear linear) {
    return (long) linear.inFeatures() * linear.outFeatures() <= MOST_WEIGHTS;
  }

  /** Whether a layer can be in one step with those before it. */
  static boolean canFollow(List<Layer> before, Layer layer) {
    int sum = layer.weights();
    boolean narrow = layer.isNarrow();
    for (Layer other : before) {
      sum += other.weights();
      narrow &= other.isNarrow();
    }
    return before.isEmpty() || narrow && sum <= MOST_WEIGHTS;
  }

  /**
   * A step of layers that {@link #canFollow} one another.
   *
   * @param rowsPerSample how many rows of the first layer's inputs a sample has
   */
  SmallDenseStep(List<Layer> layers, int rowsPerSample, @Nullable Isa isa) {
    this.layers = List.copyOf(layers);
    this.rowsPerSample = rowsPerSample;
    this.isa = isa;
    in = layers.get(0).in;
    out = layers.get(layers.size() - 1).out;
    weights = layers.stream().mapToInt(Layer::weights).sum();
    parameters = Tensor.zeros(layers.stream().mapToLong(l -> (l.in + 1L) * pitch(l)).sum());
    described = new long[layers.size() * 5];
    int at = 0;
    int entry = 0;
    for (Layer layer : layers) {
      described[entry++] = layer.in;
      described[entry++] = layer.out;
      described[entry++] = layer.relu ? 1 : 0;
      described[entry++] = parameters.address() + (long) at * Float.BYTES;
      for (float[] row : layer.byInput) {
        TensorAccess.write(parameters, at, row, 0, layer.out);
        at += pitch(layer);
      }
      described[entry++] = parameters.address() + (long) at * Float.BYTES;
      TensorAccess.write(parameters, at, layer.bias, 0, layer.out);
      at += pitch(layer);
    }
  }

  private static int pitch(Layer layer) {
    return (layer.out + LANES - 1) / LANES * LANES;
  }

  @Override
  public Runner newRunner(int samples) {
    return isa == null ? new InJava() : new InNativeCode(isa);
  }

  @Override
  public void close() {
    parameters.close();
  }

  private final class InNativeCode implements Anywhere {
    private final int isaNumber;

    InNativeCode(Isa isa) {
      isaNumber = isa.ordinal();
      TensorAccess.acquire(parameters);
    }

    @Override
    public void run(float[] x, int xFrom, float[] y, int yFrom, int n) {
      int rows = n * rowsPerSample;
      int slice = Math.max(1, SLICE / Math.max(1, weights));
      int count;
      // By what is left, so that no index overflows in the longest array.
      for (int r = 0; r < rows; r += count) {
        count = Math.min(slice, rows - r);
        int status =
            BatchNormNative.bn_dense(
                isaNumber,
                count,
                layers.size(),
                described,
                x,
                xFrom + (long) r * in,
                y,
                yFrom + (long) r * out);
        if (status != 0) {
          throw new IllegalStateException("the native library returned status " + status);
        }
      }
    }

    @Override
    public void close() {
      TensorAccess.release(parameters);
    }
  }

  private final class InJava implements Anywhere {
    /** For each layer, its outputs. */
    private final float[][] sums = new float[layers.size()][];

    InJava() {
      for (int i = 0; i < sums.length; i++) {
        sums[i] = new float[layers.get(i).out];
      }
    }

    @Override
    public void run(float[] x, int xFrom, float[] y, int yFrom, int n) {
      int rows = n * rowsPerSample;
      for (int r = 0; r < rows; r++) {
        float[] from = x;
        int at = xFrom + r * in;
        for (int i = 0; i < sums.length; i++) {
          compute(layers.get(i), from, at, sums[i]);
          from = sums[i];
          at = 0;
        }
        System.arraycopy(from, 0, y, yFrom + r * out, out);
      }
    }

    private static void compute(Layer layer, float[] from, int at, float[] sums) {
      System.arraycopy(layer.bias, 0, sums, 0, layer.out);
      for (int i = 0; i < layer.in; i++) {
        addProduct(from[at + i], layer.byInput[i], sums);
      }
      if (layer.relu) {
        clamp(sums);
      }
    }

    private static void clamp(float[] sums) {
      for (int o = 0; o < sums.length; o++) {
        sums[o] = sums[o] < 0 ? 0 : sums[o];
      }
    }

    private static void addProduct(float factor, float[] weights, float[] sums) {
      for (int o = 0; o < sums.length; o++) {
        sums[o] = Math.fma(factor, weights[o], sums[o]);
      }
    }
  }
}
