// 1 / sqrt(runningVar + eps) of every instruction set against std::sqrt and a division, both
// correctly rounded.
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

void expect_rounded(const std::vector<float>& var) {
  std::vector<float> expected(var.size()), got;
  for (size_t i = 0; i < var.size(); i++) expected[i] = 1 / std::sqrt(var[i]);
  for (int isa : isas()) {
    inv_std(isa, var, got);
    if (0 == std::memcmp(got.data(), expected.data(), 4 * var.size())) continue;
    for (size_t i = 0; i < var.size(); i++) {
      bool same =
          std::isnan(expected[i]) ? std::isnan(got[i]) : 0 == std::memcmp(&got[i], &expected[i], 4);
      if (same) continue;
      ADD_FAILURE() << std::hexfloat << "isa " << isa << ": 1 / sqrt(" << var[i] << ") is "
                    << expected[i] << ", not " << got[i];
      break;
    }
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

}  // namespace
