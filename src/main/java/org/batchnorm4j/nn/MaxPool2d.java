package org.batchnorm4j.nn;

/**
 * The largest element of each window over (N, C, H, W), like {@code torch.nn.MaxPool2d} with square
 * windows and without dilation: NaN wins, padding never does. f32, contiguous and channels first.
 */
public final class MaxPool2d extends MaxPool {

  /** Windows side by side: the stride is the kernel's size. */
  public MaxPool2d(int kernel) {
    this(kernel, kernel);
  }

  /** Without padding. */
  public MaxPool2d(int kernel, int stride) {
    this(kernel, stride, 0);
  }

  /**
   * With padding on each side of the input.
   *
   * @throws IllegalArgumentException if {@code kernel} or {@code stride} is less than 1, or {@code
   *     padding} is negative or more than half of {@code kernel}
   */
  public MaxPool2d(int kernel, int stride, int padding) {
    super(2, kernel, stride, padding);
  }

  @Override
  MaxPool2d copy() {
    return withState(new MaxPool2d(kernel(), stride(), padding()));
  }
}
