package org.batchnorm4j.nn;

/**
 * The largest element of each window over (N, C, L), like {@code torch.nn.MaxPool1d} with windows
 * and without dilation: NaN wins, padding never does. f32, contiguous and channels first.
 */
public final class MaxPool1d extends MaxPool {

  /** Windows side by side: the stride is the kernel's size. */
  public MaxPool1d(int kernel) {
    this(kernel, kernel);
  }

  /** Without padding. */
  public MaxPool1d(int kernel, int stride) {
    this(kernel, stride, 0);
  }

  /**
   * With padding on each side of the input.
   *
   * @throws IllegalArgumentException if {@code kernel} or {@code stride} is less than 1, or {@code
   *     padding} is negative or more than half of {@code kernel}
   */
  public MaxPool1d(int kernel, int stride, int padding) {
    super(1, kernel, stride, padding);
  }

  @Override
  MaxPool1d copy() {
    return withState(new MaxPool1d(kernel(), stride(), padding()));
  }
}
