package org.batchnorm4j.nn;

import org.batchnorm4j.backend.SavedStatistics;
import org.batchnorm4j.nn.functional.SampleNormFunctions;
import org.batchnorm4j.tensor.DType;
import org.batchnorm4j.tensor.Shape;
import org.batchnorm4j.tensor.Tensor;

/**
 * Normalization of groups of neighbouring channels of (N, C, ...) input, each group of each sample
 * by itself, {@code torch.nn.GroupNorm}. Training and evaluation are the same. With as many groups
 * as channels it is instance norm; with one, layer norm over channels and positions.
 *
 * <p>Errors are as in {@link BatchNorm}. One thread at a time; for many, see {@link
 * SampleNormFunctions#groupNorm}.
 */
public final class GroupNorm extends SampleNorm {
  private final long numGroups;
  private final long numChannels;

  /** With PyTorch's defaults: eps = 1e-5, affine, F32. */
  public GroupNorm(long numGroups, long numChannels) {
    this(numGroups, numChannels, 1e-5, true, DType.F32);
  }

  /**
   * With all options.
   *
   * @param numGroups a divisor of {@code numChannels}
   * @param numChannels C
   * @param eps what is added to the variance, &gt; 0
   * @param affine whether there are weight and bias, of shape (C)
   * @param dtype of parameters and statistics: F32, for F32, BF16 and F16 input; F64
   */
  public GroupNorm(long numGroups, long numChannels, double eps, boolean affine, DType dtype) {
    super(channels(numGroups, numChannels), positiveEps(eps), affine, true, dtype);
    this.numGroups = numGroups;
    this.numChannels = numChannels;
  }

  private static Shape channels(long numGroups, long numChannels) {
    atLeastOne("numGroups", numGroups);
    atLeastOne("numChannels", numChannels);
    if (numChannels % numGroups != 0) {
      throw new IllegalArgumentException(
          "num_channels must be divisible by num_groups, but got num_channels = "
              + numChannels
              + ", num_groups = "
              + numGroups);
    }
    return Shape.of(numChannels);
  }

  /** The number of groups. */
  public long numGroups() {
    return numGroups;
  }

  /** The number of channels, C. */
  public long numChannels() {
    return numChannels;
  }

  @Override
  public Shape outputShape(Shape x) {
    if (x.rank() < 2) {
      throw new IllegalArgumentException(
          "Expected at least 2 dimensions for input tensor but received "
              + x.rank()
              + ": x has shape "
              + x);
    }
    if (x.dim(1) != numChannels) {
      throw new IllegalArgumentException(
          "x has " + x.dim(1) + " channels, this GroupNorm was built for " + numChannels);
    }
    return x;
  }

  @Override
  Shape check(Shape x) {
    outputShape(x);
    SampleNormFunctions.checkGroups(x, numGroups);
    return x;
  }

  @Override
  long rows(Shape x) {
    return x.dim(0) * numGroups;
  }

  @Override
  GroupNorm copy() {
    return copyTo(new GroupNorm(numGroups, numChannels, eps(), weight() != null, dtype()));
  }

  @Override
  void normalize(Tensor x, SavedStatistics saved, Tensor y) {
    SampleNormFunctions.groupNorm(
        x, numGroups, weightValue(), biasValue(), eps(), backend(), saved, y);
  }

  @Override
  void differentiate(Tensor dy, Tensor x, SavedStatistics saved, Tensor dx) {
    SampleNormFunctions.groupNormBackward(
        dy, x, numGroups, weightValue(), saved, backend(), dx, weightGrad(), biasGrad());
  }

  @Override
  String options() {
    return numGroups
        + ", "
        + numChannels
        + ", eps="
        + BatchNorm.python(eps())
        + ", affine="
        + BatchNorm.python(weight() != null);
  }
}
