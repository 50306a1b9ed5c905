package org.batchnorm4j.nn;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.random.RandomGenerator;
import org.batchnorm4j.nn.Gemm.Matrix;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;
import org.batchnorm4j.tensor.TensorAccess;
import org.jspecify.annotations.Nullable;

/**
 * {@code y = x Aᵀ + b} over the last dimension, like {@code torch.nn.Linear}: from (*, inFeatures)
 * to (*, outFeatures), f32, row-major.
 *
 * <p>Runs on OpenBLAS, which is loaded by the first product and set to one thread for the whole
 * process: the layer splits large products over the common pool itself. With {@code
 * -Dorg.batchnorm4j.backend=java}, or where OpenBLAS does not load, it runs in Java.
 */
public final class Linear extends Layer {
  /** Multiplications that are worth a piece of their own. */
  private static final long PIECE = 1L << 21;

  private static final int ALIGN = 16;

  private final int inFeatures;
  private final int outFeatures;
  private final Parameter weight;
  private final @Nullable Parameter bias;

  /** The channels of the batch norm that was folded into the weights; 0 if none was. */
  private final int foldedChannels;

  private Gemm[] gemms = {new Gemm()};

  /** With a bias; weights as random as the sizes, so that equal sizes have equal weights. */
  public Linear(int inFeatures, int outFeatures) {
    this(inFeatures, outFeatures, true, Init.byDefault(inFeatures, outFeatures));
  }

  /** With a bias; weights from {@code random}. */
  public Linear(int inFeatures, int outFeatures, RandomGenerator random) {
    this(inFeatures, outFeatures, true, random);
  }

  /**
   * Weight and bias uniform within ±1/sqrt(inFeatures), as PyTorch has them.
   *
   * @param bias whether to add one
   * @param random where the weights come from: the same state, the same weights
   * @throws IllegalArgumentException if a size is less than 1
   */
  public Linear(int inFeatures, int outFeatures, boolean bias, RandomGenerator random) {
    this(inFeatures, outFeatures, bias, random, 0);
  }

  private Linear(
      int inFeatures, int outFeatures, boolean bias, RandomGenerator random, int foldedChannels) {
    this.foldedChannels = foldedChannels;
    this.inFeatures = Init.atLeast(1, "inFeatures", inFeatures);
    this.outFeatures = Init.atLeast(1, "outFeatures", outFeatures);
    weight = Init.uniform(random, inFeatures, outFeatures, inFeatures);
    this.bias = bias ? Init.uniform(random, inFeatures, outFeatures) : null;
  }

  /** A, of shape (outFeatures, inFeatures). */
  public Parameter weight() {
    return weight;
  }

  /** b, of shape (outFeatures), or null. */
  public @Nullable Parameter bias() {
    return bias;
  }

  /** The size of the input's last dimension. */
  public int inFeatures() {
    return inFeatures;
  }

  /** The size of the output's last dimension. */
  public int outFeatures() {
    return outFeatures;
  }

  @Override
  Linear copy() {
    return withState(blank(bias != null, foldedChannels));
  }

  /** A Linear of these sizes, for weights with a batch norm of that many channels folded in. */
  Linear forFolding(int channels) {
    return blank(true, channels);
  }

  private Linear blank(boolean withBias, int channels) {
    RandomGenerator random = Init.byDefault(inFeatures, outFeatures);
    return new Linear(inFeatures, outFeatures, withBias, random, channels);
  }

  @Override
  public Shape outputShape(Shape x) {
    int last = x.rank() - 1;
    if (last < 0 || x.dim(last) != inFeatures) {
      throw new IllegalArgumentException(
          "x has "
              + (last < 0 ? "no" : x.dim(last))
              + " features in its last dimension (shape "
              + x
              + "), but this Linear was built for "
              + inFeatures);
    }
    Shape y = x.with(last, outFeatures);
    // The batch norm looked at dimension 1, the weights are those of the last.
    if (foldedChannels != 0
        && (last < 1 || y.dim(1) != foldedChannels || last > 1 && foldedChannels > 1)) {
      throw new IllegalArgumentException(
          "x has shape "
              + x
              + ", but a BatchNorm1d("
              + foldedChannels
              + ") is folded into this Linear, which takes "
              + (foldedChannels == 1 ? "(N, 1, " : "(N, ")
              + inFeatures
              + ") now");
    }
    return y;
  }

  @Override
  void compute(Tensor x, Tensor y) {
    int rows = (int) (x.size() / inFeatures);
    Parameter b = bias;
    if (b != null) {
      float[] values = b.value().toFloatArray();
      for (int i = 0; i < rows; i++) {
        TensorAccess.write(y, (long) i * outFeatures, values, 0, outFeatures);
      }
    }
    multiply(
        rows,
        outFeatures,
        inFeatures,
        Matrix.of(x, 0, inFeatures),
        Matrix.of(weight.value(), 0, inFeatures).transpose(),
        b != null,
        Matrix.of(y, 0, outFeatures));
  }

  @Override
  void differentiate(Tensor x, Tensor dy, Tensor dx) {
    int rows = (int) (x.size() / inFeatures);
    Matrix gradient = Matrix.of(dy, 0, outFeatures);
    multiply(
        rows,
        inFeatures,
        outFeatures,
        gradient,
        Matrix.of(weight.value(), 0, inFeatures),
        false,
        Matrix.of(dx, 0, inFeatures));
    multiply(
        outFeatures,
        inFeatures,
        rows,
        gradient.transpose(),
        Matrix.of(x, 0, inFeatures),
        false,
        Matrix.of(weight.grad(), 0, inFeatures));
    if (bias != null) {
      float[] row = new float[outFeatures];
      double[] sums = new double[outFeatures];
      for (int i = 0; i < rows; i++) {
        TensorAccess.read(dy, (long) i * outFeatures, row, 0, outFeatures);
        for (int j = 0; j < outFeatures; j++) {
          sums[j] += row[j];
        }
      }
      bias.grad().copyFrom(sums);
    }
  }

  /** One product, cut along its longer side into pieces that depend on its size alone. */
  private void multiply(int m, int n, int k, Matrix a, Matrix b, boolean accumulate, Matrix c) {
    boolean byRows = m >= n;
    int length = Math.max(m, n);
    long wanted = Math.max(1, (long) m * n * k / PIECE);
    int step = (int) Math.max(4 * ALIGN, (length / wanted + ALIGN - 1) / ALIGN * ALIGN);
    int pieces = (length + step - 1) / step;
    int strands = Parallel.strands(pieces);
    if (gemms.length < strands) {
      gemms = new Gemm[strands];
      for (int i = 0; i < strands; i++) {
        gemms[i] = new Gemm();
      }
    }
    Parallel.forEach(
        pieces,
        strands,
        (strand, piece) -> {
          int from = piece * step;
          int part = Math.min(step, length - from);
          if (byRows) {
            gemms[strand].multiply(part, n, k, a.from(from, 0), b, accumulate, c.from(from, 0));
          } else {
            gemms[strand].multiply(m, part, k, a, b.from(0, from), accumulate, c.from(0, from));
          }
        });
  }

  @Override
  protected Map<String, Parameter> ownParameters() {
    Map<String, Parameter> own = new LinkedHashMap<>();
    own.put("weight", weight);
    if (bias != null) {
      own.put("bias", bias);
    }
    return own;
  }

  @Override
  String options() {
    return "in_features="
        + inFeatures
        + ", out_features="
        + outFeatures
        + ", bias="
        + (bias != null ? "True" : "False");
  }
}
