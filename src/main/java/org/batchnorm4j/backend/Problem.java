package org.batchnorm4j.backend;

import org.batchnorm4j.tensor.DType;

/**
 * What every layer below {@code nn} knows of a batch norm: N samples of C channels of S values,
 * where they lie, their type and what is fused behind the normalization. 1d, 2d and 3d are all
 * this; (N, C) input is channels last with S = 1.
 */
public record Problem(long n, long c, long s, Layout layout, DType dtype, Activation activation) {

  /** Values per channel, N * S. */
  public long valuesPerChannel() {
    return n * s;
  }
}
