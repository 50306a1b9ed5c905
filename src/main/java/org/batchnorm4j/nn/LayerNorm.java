package org.batchnorm4j.nn;

import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.functional.SampleNormFunctions;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * Normalization over the trailing dimensions of any input, for every index of the leading ones by
 * itself, {@code torch.nn.LayerNorm}. Training and evaluation are the same.
 *
 * <p>Errors are as in {@link BatchNorm}. One thread at a time; for many, see {@link
 * SampleNormFunctions#layerNorm}.
 */
public final class LayerNorm extends SampleNorm {
  private final Shape normalizedShape;

  /** With PyTorch's defaults: eps = 1e-5, with weight and bias, F32. */
  public LayerNorm(long... normalizedShape) {
    this(Shape.of(normalizedShape), 1e-5, true, true, DType.F32);
  }

  /**
   * With all options.
   *
   * @param normalizedShape the trailing dimensions of the input, at least one
   * @param eps what is added to the variance, &gt; 0
   * @param elementwiseAffine whether there is a weight, of shape {@code normalizedShape}
   * @param bias whether there then is a bias, likewise
   * @param dtype of parameters and statistics: F32, for F32, BF16 and F16 input; F64
   */
  public LayerNorm(
      Shape normalizedShape, double eps, boolean elementwiseAffine, boolean bias, DType dtype) {
    super(checked(normalizedShape), positiveEps(eps), elementwiseAffine, bias, dtype);
    this.normalizedShape = normalizedShape;
  }

  private static Shape checked(Shape normalizedShape) {
    if (normalizedShape.rank() == 0) {
      throw new IllegalArgumentException(
          "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
              + " element, but got normalized_shape = []");
    }
    for (int i = 0; i < normalizedShape.rank(); i++) {
      atLeastOne("normalizedShape[" + i + "]", normalizedShape.dim(i));
    }
    return normalizedShape;
  }

  /** The trailing dimensions that are normalized together. */
  public Shape normalizedShape() {
    return normalizedShape;
  }

  @Override
  public Shape outputShape(Shape x) {
    SampleNormFunctions.checkTrailing(x, normalizedShape);
    return x;
  }

  @Override
  long rows(Shape x) {
    return x.size() / normalizedShape.size();
  }

  @Override
  LayerNorm copy() {
    return copyTo(new LayerNorm(normalizedShape, eps(), weight() != null, bias() != null, dtype()));
  }

  @Override
  void normalize(Tensor x, SavedStatistics saved, Tensor y) {
    SampleNormFunctions.layerNorm(
        x, normalizedShape, weightValue(), biasValue(), eps(), backend(), saved, y);
  }

  @Override
  void differentiate(Tensor dy, Tensor x, SavedStatistics saved, Tensor dx) {
    SampleNormFunctions.layerNormBackward(
        dy, x, normalizedShape, weightValue(), saved, backend(), dx, weightGrad(), biasGrad());
  }

  @Override
  String options() {
    StringBuilder tuple = new StringBuilder("(");
    for (int i = 0; i < normalizedShape.rank(); i++) {
      tuple.append(i == 0 ? "" : ", ").append(normalizedShape.dim(i));
    }
    tuple.append(normalizedShape.rank() == 1 ? ",)" : ")");
    return tuple
        + ", eps="
        + BatchNorm.python(eps())
        + ", elementwise_affine="
        + BatchNorm.python(weight() != null);
  }
}
