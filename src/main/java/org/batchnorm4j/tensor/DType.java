package org.batchnorm4j.tensor;

/**
 * The type of a tensor's elements in memory. Half types are stored as 16 bits and computed in f32.
 */
public enum DType {
  /** IEEE 754 binary32, Java's {@code float}. */
  F32(4),
  /** IEEE 754 binary64, Java's {@code double}. */
  F64(8),
  /** bfloat16: the upper half of a binary32. */
  BF16(2),
  /** IEEE 754 binary16. */
  F16(2),
  /** 64-bit integers: counters only, never the input of a layer. */
  I64(8);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /**
   * The type of weights, biases and statistics that go with data of this type: f64 for f64, f32 for
   * f32 and the half types.
   */
  public DType parameterType() {
    return switch (this) {
      case F64 -> F64;
      case F32, BF16, F16 -> F32;
      case I64 -> throw new IllegalArgumentException("dtype I64 has no parameters: it only counts");
    };
  }
}
