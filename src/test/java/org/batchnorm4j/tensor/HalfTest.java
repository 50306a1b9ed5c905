package org.batchnorm4j.tensor;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import java.util.function.IntToDoubleFunction;
import org.junit.jupiter.api.Test;

class HalfTest {

  /** A 16-bit format by its fields, in f64: what {@link Half} is compared with. */
  private record Format(int fractionBits, int exponentBits) {
    double value(int bits) {
      int fraction = bits & (1 << fractionBits) - 1;
      int exponent = bits >>> fractionBits & (1 << exponentBits) - 1;
      double sign = bits >>> 15 == 0 ? 1 : -1;
      int bias = (1 << exponentBits - 1) - 1;
      if (exponent == (1 << exponentBits) - 1) {
        return fraction == 0 ? sign / 0 : Double.NaN;
      }
      double significand = fraction / (double) (1 << fractionBits);
      return exponent == 0
          ? sign * significand * Math.scalb(1.0, 1 - bias)
          : sign * (1 + significand) * Math.scalb(1.0, exponent - bias);
    }

    int infinity() {
      return (1 << exponentBits) - 1 << fractionBits;
    }

    /** The value of these bits, and for infinity the power of two that comes after the largest. */
    double unbounded(int bits) {
      return bits == infinity() ? Math.scalb(1.0, 1 << exponentBits - 1) : value(bits);
    }

    /** The nearest value's bits, by search among all magnitudes; ties to the even bits. */
    int nearest(double value) {
      double magnitude = Math.abs(value);
      int low = 0;
      int high = infinity();
      while (high - low > 1) {
        int middle = (low + high) / 2;
        if (value(middle) <= magnitude) {
          low = middle;
        } else {
          high = middle;
        }
      }
      double toLow = magnitude - value(low);
      double toHigh = unbounded(high) - magnitude;
      int bits = toLow < toHigh || toLow == toHigh && low % 2 == 0 ? low : high;
      return Double.doubleToRawLongBits(value) < 0 ? bits | 0x8000 : bits;
    }
  }

  private static final Format BF16 = new Format(7, 8);
  private static final Format F16 = new Format(10, 5);

  @Test
  void widensEveryBf16Exactly() {
    widens(BF16, bits -> Half.fromBf16((short) bits));
  }

  @Test
  void widensEveryF16Exactly() {
    widens(F16, bits -> Half.fromF16((short) bits));
  }

  private static void widens(Format format, IntToDoubleFunction widen) {
    for (int bits = 0; bits < 0x10000; bits++) {
      // assertEquals tells -0 from +0.
      assertEquals(format.value(bits), widen.applyAsDouble(bits), Integer.toHexString(bits));
    }
  }

  @Test
  void everyBf16ComesBack() {
    for (int bits = 0; bits < 0x10000; bits++) {
      float value = Half.fromBf16((short) bits);
      assertEquals((short) (Float.isNaN(value) ? bits | 0x40 : bits), Half.toBf16(value));
    }
  }

  @Test
  void everyF16ComesBack() {
    for (int bits = 0; bits < 0x10000; bits++) {
      float value = Half.fromF16((short) bits);
      assertEquals((short) (Float.isNaN(value) ? bits | 0x200 : bits), Half.toF16(value));
    }
  }

  /** Half-way between any two neighbours, and the f32 on either side of that. */
  @Test
  void roundsToNearestEvenBetweenNeighbours() {
    for (int bits = 0; bits < BF16.infinity(); bits++) {
      float tie = (float) ((BF16.unbounded(bits) + BF16.unbounded(bits + 1)) / 2);
      checkBf16(tie);
      checkBf16(Math.nextUp(tie));
      checkBf16(Math.nextDown(tie));
    }
    for (int bits = 0; bits < F16.infinity(); bits++) {
      float tie = (float) ((F16.unbounded(bits) + F16.unbounded(bits + 1)) / 2);
      checkF16(tie);
      checkF16(Math.nextUp(tie));
      checkF16(Math.nextDown(tie));
    }
  }

  @Test
  void roundsAnyFloatToNearest() {
    Random random = new Random(16);
    for (int i = 0; i < 200_000; i++) {
      float value = Float.intBitsToFloat(random.nextInt());
      if (!Float.isNaN(value)) {
        checkBf16(value);
        checkF16(value);
      }
    }
    for (float value :
        new float[] {0f, Float.MIN_VALUE, Float.MAX_VALUE, Float.POSITIVE_INFINITY}) {
      checkBf16(value);
      checkF16(value);
    }
  }

  private static void checkBf16(float value) {
    check(BF16.nearest(value), Half.toBf16(value), value);
    check(BF16.nearest(-value), Half.toBf16(-value), -value);
  }

  private static void checkF16(float value) {
    check(F16.nearest(value), Half.toF16(value), value);
    check(F16.nearest(-value), Half.toF16(-value), -value);
  }

  private static void check(int expected, short actual, float value) {
    if ((short) expected != actual) {
      assertEquals(
          Integer.toHexString(expected),
          Integer.toHexString(actual & 0xffff),
          Float.toHexString(value));
    }
  }

  @Test
  void everyNanStaysOne() {
    Random random = new Random(17);
    for (int i = 0; i < 100_000; i++) {
      int bits = random.nextInt() | 0x7f800000;
      if ((bits & 0x7fffff) != 0) {
        float nan = Float.intBitsToFloat(bits);
        assertTrue(Float.isNaN(Half.fromBf16(Half.toBf16(nan))), () -> Integer.toHexString(bits));
        assertTrue(Float.isNaN(Half.fromF16(Half.toF16(nan))), () -> Integer.toHexString(bits));
      }
    }
  }
}
