package org.batchnorm4j.nn;

import org.jspecify.annotations.Nullable;

/** Batch normalization of (N, C, D, H, W) input, {@code torch.nn.BatchNorm3d}. */
public final class BatchNorm3d extends BatchNorm {

  /** A batch norm of that many channels with PyTorch's defaults. */
  public BatchNorm3d(long numFeatures) {
    this(builder(numFeatures));
  }

  private BatchNorm3d(Builder<BatchNorm3d> builder) {
    super(builder);
  }

  /** A batch norm of that many channels, with options. */
  public static Builder<BatchNorm3d> builder(long numFeatures) {
    return new Builder<>(numFeatures, BatchNorm3d::new);
  }

  @Override
  BatchNorm3d copy() {
    return copy(builder(numFeatures()));
  }

  @Override
  @Nullable String rankError(int rank) {
    return rank == 5 ? null : "expected 5D input (got " + rank + "D input)";
  }
}
