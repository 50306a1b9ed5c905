package org.batchnorm4j.nn;

/** A {@link BatchNorm3d} of as many channels as its first input has. */
public final class LazyBatchNorm3d extends LazyBatchNorm<BatchNorm3d> {

  /** With PyTorch's defaults. */
  public LazyBatchNorm3d() {
    this(builder());
  }

  private LazyBatchNorm3d(BatchNorm.Builder<LazyBatchNorm3d> builder) {
    super(builder);
  }

  /** With options. */
  public static BatchNorm.Builder<LazyBatchNorm3d> builder() {
    return new BatchNorm.Builder<>(LazyBatchNorm3d::new);
  }

  @Override
  BatchNorm.Builder<BatchNorm3d> builderOf(long numFeatures) {
    return BatchNorm3d.builder(numFeatures);
  }

  @Override
  LazyBatchNorm3d blank() {
    return withOptions(builder()).build();
  }
}
