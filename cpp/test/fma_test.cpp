// exact_fma against known bits everywhere, and against the CPU's own instruction where it has one.
#include "fma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace {

template <class To, class From>
To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  std::memcpy(&r, &x, sizeof r);
  return r;
}

#if defined(__x86_64__)
bool has_fma() { return __builtin_cpu_supports("fma"); }
__attribute__((target("fma"))) float cpu_fma(float x, float y, float z) {
  return __builtin_fmaf(x, y, z);
}
__attribute__((target("fma"))) double cpu_fma(double x, double y, double z) {
  return __builtin_fma(x, y, z);
}
#elif defined(__aarch64__)
bool has_fma() { return true; }
float cpu_fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
double cpu_fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
#endif

class Random {
 public:
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  // Any sign; a mantissa of random, few, or almost all bits; an exponent within +-range of middle.
  template <class E, class Bits>
  E number(int middle, int range) {
    constexpr int kMantissa = std::numeric_limits<E>::digits - 1;
    constexpr int kMost = 2 * std::numeric_limits<E>::max_exponent - 1;
    int exponent = middle + (int)(next() % (uint64_t)(2 * range + 1)) - range;
    exponent = exponent < 0 ? 0 : exponent > kMost ? kMost : exponent;
    Bits ones = (Bits{1} << kMantissa) - 1, mantissa = (Bits)next() & ones;
    uint64_t shape = next() % 4;
    if (shape == 1) mantissa = Bits{1} << next() % kMantissa;
    if (shape == 2) mantissa = ones ^ (Bits{1} << next() % kMantissa);
    if (shape == 3) mantissa &= (Bits)next() & (Bits)next();
    Bits sign = (Bits)(next() & 1) << (8 * sizeof(Bits) - 1);
    return bits_as<E>((Bits)(sign | (Bits)exponent << kMantissa | mantissa));
  }

 private:
  uint64_t state_ = 88172645463325252u;
};

template <class E, class Bits>
void expect_same(E x, E y, E z) {
  E expected = cpu_fma(x, y, z), got = bn::exact_fma(x, y, z);
  bool same =
      std::isnan(expected) ? std::isnan(got) : bits_as<Bits>(expected) == bits_as<Bits>(got);
  if (same) return;
  ADD_FAILURE() << std::hexfloat << "fma(" << x << ", " << y << ", " << z << ") is " << expected
                << ", not " << got;
}

template <class E, class Bits>
void compare_with_cpu() {
  constexpr int kMiddle = std::numeric_limits<E>::max_exponent - 1;  // exponent of 1
  constexpr int kMantissa = std::numeric_limits<E>::digits;
  using Limits = std::numeric_limits<E>;
  const E specials[] = {0,
                        -E(0),
                        1,
                        -1,
                        E(1) + Limits::epsilon(),
                        Limits::max(),
                        -Limits::max(),
                        Limits::min(),
                        -Limits::min(),
                        Limits::denorm_min(),
                        -Limits::denorm_min(),
                        Limits::infinity(),
                        -Limits::infinity(),
                        Limits::quiet_NaN()};
  for (E x : specials) {
    for (E y : specials) {
      for (E z : specials) expect_same<E, Bits>(x, y, z);
    }
  }
  Random random;
  for (int i = 0; i < 100000 && !testing::Test::HasFailure(); i++) {
    // Anything; a z that mostly cancels the product; a z at the edge of the product's last bits;
    // products about the smallest and the largest numbers.
    E x = random.number<E, Bits>(kMiddle, kMiddle), y = random.number<E, Bits>(kMiddle, kMiddle);
    expect_same<E, Bits>(x, y, random.number<E, Bits>(kMiddle, kMiddle));
    x = random.number<E, Bits>(kMiddle, 3);
    y = random.number<E, Bits>(kMiddle, 3);
    E product = x * y;
    for (int ulps = -2; ulps <= 2; ulps++) {
      expect_same<E, Bits>(x, y, bits_as<E>((Bits)(bits_as<Bits>(-product) + (Bits)ulps)));
    }
    expect_same<E, Bits>(x, y, random.number<E, Bits>(kMiddle, 2 * kMantissa + 3));
    y = random.number<E, Bits>(2, 2);
    expect_same<E, Bits>(x, y, random.number<E, Bits>(2, 2));
    expect_same<E, Bits>(x / E(1 << 20), y, random.number<E, Bits>(0, 1));
    y = random.number<E, Bits>(2 * kMiddle, 3);
    expect_same<E, Bits>(x, y, random.number<E, Bits>(2 * kMiddle, 3));
  }
}

TEST(Fma, DoubleIsTheCpus) {
  if (!has_fma()) GTEST_SKIP() << "this CPU has no such instruction";
  compare_with_cpu<double, uint64_t>();
}

TEST(Fma, FloatIsTheCpus) {
  if (!has_fma()) GTEST_SKIP() << "this CPU has no such instruction";
  compare_with_cpu<float, uint32_t>();
}

// Where two roundings, or a wider format in between, give something else.
TEST(Fma, KnownBits) {
  EXPECT_EQ(0x1.0000000000001p0, bn::exact_fma(1 + 0x1p-30, 0x1p-53, 1.0));
  EXPECT_EQ(0x1p-1022, bn::exact_fma(0x1p-1022, 0x1.fffffffffffffp-1, 0x1p-1074));
  EXPECT_EQ(-0x1p-104, bn::exact_fma(1 + 0x1p-52, 1 - 0x1p-52, -1.0));
  EXPECT_EQ(0x1.000002p0f, bn::exact_fma(1 + 0x1p-18f, 0x1p-24f - 0x1p-42f, 0x1.000002p0f));
  EXPECT_EQ(-0x1p-46f, bn::exact_fma(1 + 0x1p-23f, 1 - 0x1p-23f, -1.0f));
  EXPECT_EQ(0x1p-148f, bn::exact_fma(0x1p-100f, 0x1p-50f, 0x1p-149f));
}

}  // namespace
