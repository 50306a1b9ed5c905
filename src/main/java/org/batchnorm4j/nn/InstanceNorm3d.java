package org.batchnorm4j.nn;

/**
 * Instance normalization of (N, C, D, H, W) or (C, D, H, W) input, {@code torch.nn.InstanceNorm3d}.
 */
public final class InstanceNorm3d extends InstanceNorm {

  /** An instance norm of that many channels with PyTorch's defaults. */
  public InstanceNorm3d(long numFeatures) {
    this(builder(numFeatures));
  }

  private InstanceNorm3d(BatchNorm.Builder<InstanceNorm3d> builder) {
    super(builder, 3);
  }

  /** An instance norm of that many channels, with options. */
  public static BatchNorm.Builder<InstanceNorm3d> builder(long numFeatures) {
    return withDefaults(new BatchNorm.Builder<>(numFeatures, InstanceNorm3d::new));
  }

  @Override
  InstanceNorm3d copy() {
    return copy(builder(numFeatures()));
  }
}
