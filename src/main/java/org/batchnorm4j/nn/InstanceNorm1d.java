package org.batchnorm4j.nn;

/** Instance normalization of (N, C, L) or (C, L) input, {@code torch.nn.InstanceNorm1d}. */
public final class InstanceNorm1d extends InstanceNorm {

  /** An instance norm of that many channels with PyTorch's defaults. */
  public InstanceNorm1d(long numFeatures) {
    this(builder(numFeatures));
  }

  private InstanceNorm1d(BatchNorm.Builder<InstanceNorm1d> builder) {
    super(builder, 1);
  }

  /** An instance norm of that many channels, with options. */
  public static BatchNorm.Builder<InstanceNorm1d> builder(long numFeatures) {
    return withDefaults(new BatchNorm.Builder<>(numFeatures, InstanceNorm1d::new));
  }

  @Override
  InstanceNorm1d copy() {
    return copy(builder(numFeatures()));
  }
}
