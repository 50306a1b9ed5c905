package org.batchnorm4j.nn;

import java.util.random.RandomGenerator;

/**
 * Convolution over (N, C, H, W), like {@code torch.nn.Conv2d} with zero padding. f32, contiguous
 * and channels first.
 *
 * <p>Runs on OpenBLAS, on the terms of {@link Linear}.
 */
public final class Conv2d extends Conv {

  /** With random weights that are the same for the same sizes. */
  public Conv2d(int inChannels, int outChannels, ConvOptions options) {
    this(
        inChannels,
        outChannels,
        options,
        Init.byDefault(
            inChannels, outChannels, options.kernel().height(), options.kernel().width()));
  }

  /**
   * Weight and bias uniform within ±1/sqrt(inputs per output), as PyTorch has them.
   *
   * @param options such as {@code kernel(3).padding(1)}
   * @param random where the weights come from: the same state, the same weights
   * @throws IllegalArgumentException if a number of channels is less than 1 or not divisible by the
   *     groups
   */
  public Conv2d(int inChannels, int outChannels, ConvOptions options, RandomGenerator random) {
    super(2, inChannels, outChannels, options, random);
  }

  @Override
  Conv2d copy() {
    return withState(new Conv2d(inChannels(), outChannels(), convOptions()));
  }
}
