package org.batchnorm4j.nn;

/** A {@link BatchNorm2d} of as many channels as its first input has. */
public final class LazyBatchNorm2d extends LazyBatchNorm<BatchNorm2d> {

  /** With PyTorch's defaults. */
  public LazyBatchNorm2d() {
    this(builder());
  }

  private LazyBatchNorm2d(BatchNorm.Builder<LazyBatchNorm2d> builder) {
    super(builder);
  }

  /** With options. */
  public static BatchNorm.Builder<LazyBatchNorm2d> builder() {
    return new BatchNorm.Builder<>(LazyBatchNorm2d::new);
  }

  @Override
  BatchNorm.Builder<BatchNorm2d> builderOf(long numFeatures) {
    return BatchNorm2d.builder(numFeatures);
  }

  @Override
  LazyBatchNorm2d blank() {
    return withOptions(builder()).build();
  }
}
