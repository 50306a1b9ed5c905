package org.batchnorm4j.nn;

/**
 * The options of {@link Conv1d} and {@link Conv2d} under PyTorch's names, made from the kernel
 * size: {@code kernel(3).padding(1)}, {@code kernel(3, 5).stride(2).bias(false)}. One number stands
 * for every dimension.
 *
 * @param kernel the size of the kernel
 * @param stride from one position of the kernel to the next
 * @param padding zeros on each side of the input
 * @param dilation from one element of the kernel to the next
 * @param groups channels are cut into so many groups that do not mix; as many as input channels for
 *     a depthwise convolution
 * @param bias whether to add one
 */
public record ConvOptions(
    Size kernel, Size stride, Size padding, Size dilation, int groups, boolean bias) {

  /** One number per dimension; both the same where a convolution has one dimension only. */
  public record Size(int height, int width) {
    private Size checked(int minimum, String name) {
      Init.atLeast(minimum, name, height);
      Init.atLeast(minimum, name, width);
      return this;
    }
  }

  /**
   * Checks each option.
   *
   * @throws IllegalArgumentException if a size is too small
   */
  public ConvOptions {
    kernel.checked(1, "kernel");
    stride.checked(1, "stride");
    padding.checked(0, "padding");
    dilation.checked(1, "dilation");
    Init.atLeast(1, "groups", groups);
  }

  /** A kernel of this size in every dimension, stride 1, no padding, one group, a bias. */
  public static ConvOptions kernel(int size) {
    return kernel(size, size);
  }

  /** A kernel of this size, stride 1, no padding, one group, a bias. */
  public static ConvOptions kernel(int height, int width) {
    Size one = new Size(1, 1);
    return new ConvOptions(new Size(height, width), one, new Size(0, 0), one, 1, true);
  }

  /** These options with another stride. */
  public ConvOptions stride(int size) {
    return stride(size, size);
  }

  /** These options with another stride. */
  public ConvOptions stride(int height, int width) {
    return new ConvOptions(kernel, new Size(height, width), padding, dilation, groups, bias);
  }

  /** These options with another padding. */
  public ConvOptions padding(int size) {
    return padding(size, size);
  }

  /** These options with another padding. */
  public ConvOptions padding(int height, int width) {
    return new ConvOptions(kernel, stride, new Size(height, width), dilation, groups, bias);
  }

  /** These options with another dilation. */
  public ConvOptions dilation(int size) {
    return dilation(size, size);
  }

  /** These options with another dilation. */
  public ConvOptions dilation(int height, int width) {
    return new ConvOptions(kernel, stride, padding, new Size(height, width), groups, bias);
  }

  /** These options with another number of groups. */
  public ConvOptions groups(int count) {
    return new ConvOptions(kernel, stride, padding, dilation, count, bias);
  }

  /** These options with or without a bias. */
  public ConvOptions bias(boolean wanted) {
    return new ConvOptions(kernel, stride, padding, dilation, groups, wanted);
  }
}
