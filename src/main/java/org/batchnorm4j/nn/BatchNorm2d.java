package org.batchnorm4j.nn;

import org.jspecify.annotations.Nullable;

/** Batch normalization of (N, C, H, W) input, {@code torch.nn.BatchNorm2d}. */
public final class BatchNorm2d extends BatchNorm {

  /** A batch norm of that many channels with PyTorch's defaults. */
  public BatchNorm2d(long numFeatures) {
    this(builder(numFeatures));
  }

  private BatchNorm2d(Builder<BatchNorm2d> builder) {
    super(builder);
  }

  /** A batch norm of that many channels, with options. */
  public static Builder<BatchNorm2d> builder(long numFeatures) {
    return new Builder<>(numFeatures, BatchNorm2d::new);
  }

  @Override
  BatchNorm2d copy() {
    return copy(builder(numFeatures()));
  }

  @Override
  @Nullable String rankError(int rank) {
    return rank == 4 ? null : "expected 4D input (got " + rank + "D input)";
  }
}
