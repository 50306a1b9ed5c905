// 1 / sqrt(var + eps) of every instruction set against std::sqrt and a division, both correctly
// rounded: of running variances, and of a batch's.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "dispatch.h"
#include "problem.h"

namespace {

float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// The kernels' answer; that -0 is added changes no value, not even -0.
void inv_std(int isa, const std::vector<float>& var, std::vector<float>& out) {
  std::vector<float> scale(var.size()), bias_copy(var.size());
  out.assign(var.size(), 0);
  bn::PrepareInference f;
  f.eps = -0.0;
  f.running_var = var.data();
  f.scale = scale.data();
  f.bias_copy = bias_copy.data();
  f.inv_std = out.data();
  bn::kernels_for(isa, bn_f32)->prepare_inference(f, 0, (int64_t)var.size());
}

template <class E>
void expect_same(int isa, const std::vector<E>& var, const std::vector<float>& expected,
                 const std::vector<float>& got) {
  for (size_t i = 0; i < var.size(); i++) {
    bool same =
        std::isnan(expected[i]) ? std::isnan(got[i]) : 0 == std::memcmp(&got[i], &expected[i], 4);
    if (same) continue;
    ADD_FAILURE() << std::hexfloat << "isa " << isa << ": 1 / sqrt(" << var[i] << ") is "
                  << expected[i] << ", not " << got[i];
    break;
  }
}

void expect_rounded(const std::vector<float>& var) {
  std::vector<float> expected(var.size()), got;
  for (size_t i = 0; i < var.size(); i++) expected[i] = 1 / std::sqrt(var[i]);
  for (int isa : isas()) {
    inv_std(isa, var, got);
    if (0 == std::memcmp(got.data(), expected.data(), 4 * var.size())) continue;
    expect_same(isa, var, expected, got);
  }
}

// [1, 4): what follows from it by powers of 4 has the same mantissa.
TEST(InvStd, OfEveryMantissa) {
  std::vector<float> var(1 << 16);
  for (uint32_t bits = 0x3f800000; bits < 0x40800000; bits += 1 << 16) {
    for (uint32_t i = 0; i < 1 << 16; i++) var[i] = from_bits(bits + i);
    expect_rounded(var);
  }
}

// A whole group of vectors, one vector, and part of one.
constexpr uint32_t kChannels = 64 + 16 + 7;

TEST(InvStd, OfEveryExponent) {
  std::vector<float> var(kChannels);
  for (uint64_t bits = 0; bits + kChannels <= 1ull << 32; bits += (1 << 16) - 32) {
    for (uint32_t i = 0; i < kChannels; i++) var[i] = from_bits((uint32_t)bits + i);
    expect_rounded(var);
  }
}

TEST(InvStd, OfOddValuesAmongOrdinaryOnes) {
  using Limits = std::numeric_limits<float>;
  for (float odd : {0.0f, -0.0f, -1.0f, Limits::denorm_min(), Limits::min(), Limits::max(),
                    Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), 0x1p-64f,
                    std::nextafter(0x1p-64f, 0.0f), 0x1p-100f}) {
    for (uint32_t at = 0; at < kChannels; at++) {
      std::vector<float> var(kChannels);
      for (uint32_t i = 0; i < kChannels; i++) var[i] = 0.5f + 0.01f * (float)i;
      var[at] = odd;
      expect_rounded(var);
    }
  }
}

// What training makes of variances, given as sums of squares of one value. Their root and quotient
// are doubles.
void expect_narrowed(const std::vector<double>& var) {
  const size_t n = var.size();
  std::vector<float> first(n), expected(n), got(n), others(4 * n);
  std::vector<double> mean(n);
  for (size_t i = 0; i < n; i++) expected[i] = (float)(1 / std::sqrt(var[i]));
  bn::FinishTraining f = {};
  f.eps = -0.0;  // Changes no value, not even -0.
  f.count = 1;
  f.mean = others.data();
  f.mean_low = others.data() + n;
  f.scale = others.data() + 2 * n;
  f.bias_copy = others.data() + 3 * n;
  f.inv_std = got.data();
  for (int isa : isas()) {
    bn::kernels_for(isa, bn_f32)
        ->finish_training(f, first.data(), 1, 0, (int64_t)n, mean.data(), var.data());
    expect_same(isa, var, expected, got);
  }
}

// Variances whose inverse root is as near to the middle of two floats as a double can be, and the
// doubles around them: some are rounded up, some down, some are ties.
TEST(InvStd, OfABatchNearTheMiddleOfTwoFloats) {
  constexpr int kNear = 24;
  for (int exponent : {-100, -1, 0, 37, 110}) {
    uint32_t mantissa = 1;
    std::vector<double> var;
    for (int i = 0; i < 20000; i++) {
      mantissa = mantissa * 1664525 + 1013904223;  // Knuth's numerical recipe
      float below = std::ldexp(from_bits(0x3f800000 | mantissa >> 9), exponent);
      double middle = ((double)below + (double)std::nextafter(below, INFINITY)) / 2;
      double x = 1 / (middle * middle);
      for (int k = 0; k < kNear / 2; k++) x = std::nextafter(x, 0);
      for (int k = 0; k < kNear; k++) {
        var.push_back(x);
        x = std::nextafter(x, INFINITY);
      }
    }
    expect_narrowed(var);
  }
}

TEST(InvStd, OfABatchOfEveryExponent) {
  std::vector<double> var;
  for (int exponent = -1074; exponent < 1024; exponent++) {
    for (double x : {1.0, 1.1, 1.5, 1.999999}) var.push_back(std::ldexp(x, exponent));
  }
  expect_narrowed(var);
  // Alone among ordinary ones.
  using Limits = std::numeric_limits<double>;
  for (double odd : {0.0, -0.0, -1.0, Limits::denorm_min(), Limits::min(), Limits::max(),
                     Limits::infinity(), Limits::quiet_NaN(), 0x1p-250, 0x1p250}) {
    for (double x : {std::nextafter(odd, 0), odd, std::nextafter(odd, INFINITY)}) {
      std::vector<double> among(kChannels, 0.5);
      for (uint32_t at = 0; at < kChannels; at += 5) {
        among[at] = x;
        expect_narrowed(among);
        among[at] = 0.5;
      }
    }
  }
}

}  // namespace
