package org.batchnorm4j.nn;

import org.jspecify.annotations.Nullable;

/** Batch normalization of (N, C) or (N, C, L) input, {@code torch.nn.BatchNorm1d}. */
public final class BatchNorm1d extends BatchNorm {

  /** A batch norm of that many channels with PyTorch's defaults. */
  public BatchNorm1d(long numFeatures) {
    this(builder(numFeatures));
  }

  private BatchNorm1d(Builder<BatchNorm1d> builder) {
    super(builder);
  }

  /** A batch norm of that many channels, with options. */
  public static Builder<BatchNorm1d> builder(long numFeatures) {
    return new Builder<>(numFeatures, BatchNorm1d::new);
  }

  @Override
  BatchNorm1d copy() {
    return copy(builder(numFeatures()));
  }

  @Override
  @Nullable String rankError(int rank) {
    return rank == 2 || rank == 3 ? null : "expected 2D or 3D input (got " + rank + "D input)";
  }
}
