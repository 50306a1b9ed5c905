package org.batchnorm4j.nn;

/** A {@link BatchNorm1d} of as many channels as its first input has. */
public final class LazyBatchNorm1d extends LazyBatchNorm<BatchNorm1d> {

  /** With PyTorch's defaults. */
  public LazyBatchNorm1d() {
    this(builder());
  }

  private LazyBatchNorm1d(BatchNorm.Builder<LazyBatchNorm1d> builder) {
    super(builder);
  }

  /** With options. */
  public static BatchNorm.Builder<LazyBatchNorm1d> builder() {
    return new BatchNorm.Builder<>(LazyBatchNorm1d::new);
  }

  @Override
  BatchNorm.Builder<BatchNorm1d> builderOf(long numFeatures) {
    return BatchNorm1d.builder(numFeatures);
  }

  @Override
  LazyBatchNorm1d blank() {
    return withOptions(builder()).build();
  }
}
