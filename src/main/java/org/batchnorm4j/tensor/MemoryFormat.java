package org.batchnorm4j.tensor;

/**
 * The order in which the elements of an (N, C, spatial...) tensor lie in memory. The shape is
 * always written channels first, as in PyTorch; the format only says where an element lies.
 */
public enum MemoryFormat {
  /** Row-major: all of a channel's spatial elements together. PyTorch's contiguous, NCHW. */
  CHANNELS_FIRST,
  /** The channels of one spatial position together. PyTorch's channels_last, NHWC. */
  CHANNELS_LAST
}
