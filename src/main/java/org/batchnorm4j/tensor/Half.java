package org.batchnorm4j.tensor;

/**
 * Conversions between f32 and the 16-bit types: widening is exact, narrowing rounds to nearest
 * even, every NaN narrows to a quiet NaN. The same bits as the CPU's own conversions.
 */
public final class Half {
  private Half() {}

  /** The value of a bfloat16. */
  public static float fromBf16(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** The nearest bfloat16. */
  public static short toBf16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) (bits >>> 16 | 0x40);
    }
    return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
  }

  /** The value of an IEEE binary16. */
  public static float fromF16(short bits) {
    int sign = (bits & 0x8000) << 16;
    int magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00) {
      int quiet = magnitude == 0x7c00 ? 0 : 0x400000;
      return Float.intBitsToFloat(sign | 0x7f800000 | magnitude << 13 | quiet);
    }
    // A product moves the exponent, exactly, for zero and subnormals too: zeros are as common as
    // other values behind a ReLU, and a branch on them would be mispredicted.
    float value = Float.intBitsToFloat(magnitude << 13) * 0x1p112f;
    return Float.intBitsToFloat(sign | Float.floatToRawIntBits(value));
  }

  /** The nearest IEEE binary16; magnitudes from 65520 on become infinite. */
  public static short toF16(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = bits >>> 16 & 0x8000;
    int magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      return (short) (sign | 0x7e00 | magnitude >>> 13 & 0x3ff);
    }
    if (magnitude >= 0x477ff000) {
      return (short) (sign | 0x7c00);
    }
    // Below the smallest normal: adding 0.5 puts the rounded multiple of 2^-24 in the low bits.
    // Both
    // are computed and one masked away, for the same reason as above.
    int subnormal = Float.floatToRawIntBits(Float.intBitsToFloat(magnitude) + 0.5f) - 0x3f000000;
    int normal = magnitude - 0x38000000 + 0xfff + (magnitude >>> 13 & 1) >>> 13;
    int isSubnormal = magnitude - 0x38800000 >> 31;
    return (short) (sign | subnormal & isSubnormal | normal & ~isSubnormal);
  }
}
