package org.batchnorm4j.nn;

/** Instance normalization of (N, C, H, W) or (C, H, W) input, {@code torch.nn.InstanceNorm2d}. */
public final class InstanceNorm2d extends InstanceNorm {

  /** An instance norm of that many channels with PyTorch's defaults. */
  public InstanceNorm2d(long numFeatures) {
    this(builder(numFeatures));
  }

  private InstanceNorm2d(BatchNorm.Builder<InstanceNorm2d> builder) {
    super(builder, 2);
  }

  /** An instance norm of that many channels, with options. */
  public static BatchNorm.Builder<InstanceNorm2d> builder(long numFeatures) {
    return withDefaults(new BatchNorm.Builder<>(numFeatures, InstanceNorm2d::new));
  }

  @Override
  InstanceNorm2d copy() {
    return copy(builder(numFeatures()));
  }
}
