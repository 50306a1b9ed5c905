package org.batchnorm4j.backend;

/** Where the values of an (N, C, S) problem lie. The ordinals are those of {@code bn_layout}. */
public enum Layout {
  /** Channels first: the S values of a channel of a sample are contiguous. */
  NCS,
  /** Channels last: the C channels of a position are contiguous. */
  NSC
}
