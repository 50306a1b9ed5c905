// Products of small layers, on exactly as much memory as they may touch.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "batchnorm4j.h"

namespace {

float value(int64_t i) { return (float)((i * 37 + 11) % 101 - 50) / 16; }

std::vector<float> values(int64_t n, int64_t seed) {
  std::vector<float> v((size_t)n);
  for (int64_t i = 0; i < n; i++) v[(size_t)i] = value(i + seed);
  return v;
}

TEST(Dense, IsOneFmaAfterAnother) {
  int best = bn_detect_isa();
  for (int isa : {bn_avx2, bn_avx512, bn_neon}) {
    // On x86 the sets are in order; neon is alone.
    if (isa > best || (best == bn_neon && isa != bn_neon)) continue;
    for (int64_t out : {1, 2, 3, 9, 15, 16, 17, 33, 50, 64, 65, 100}) {
      for (int64_t rows : {0, 1, 3, 4, 7, 16, 21, 32, 53}) {
        int64_t in = 9, pitch = (out + 15) / 16 * 16, x_at = 3, y_at = 2;
        std::vector<float> x = values(x_at + rows * in, 1), bias = values(pitch, 2);
        std::vector<float> w = values(in * pitch, 3), y((size_t)(y_at + rows * out), 9.f);
        int relu = (int)(rows % 2);
        bn_dense_layer layer = {in, out, relu, w.data(), bias.data()};
        ASSERT_EQ(bn_ok, bn_dense(isa, rows, 1, &layer, x.data(), x_at, y.data(), y_at));
        for (int64_t r = 0; r < rows; r++) {
          for (int64_t o = 0; o < out; o++) {
            float sum = bias[(size_t)o];
            for (int64_t i = 0; i < in; i++) {
              sum = std::fma(x[(size_t)(x_at + r * in + i)], w[(size_t)(i * pitch + o)], sum);
            }
            if (relu != 0 && sum < 0) sum = 0;
            ASSERT_EQ(sum, y[(size_t)(y_at + r * out + o)])
                << "isa " << isa << ", out " << out << ", row " << r << ", output " << o;
          }
        }
        EXPECT_EQ(9, y[0]);
        EXPECT_EQ(9, y[1]);
      }
    }
  }
}

// Between layers there is room for so many values of a block of rows, and no more.
TEST(Dense, LayersTogetherAreLayersOneByOne) {
  int isa = bn_detect_isa();
  if (isa == bn_scalar) return;
  for (int64_t width : {1, 2, 50, BN_DENSE_WIDTH}) {
    for (int64_t rows : {1, 15, 16, 33, 70}) {
      int64_t pitch = (width + 15) / 16 * 16;
      std::vector<float> w = values(width * pitch, 3), last = values(width * 16, 4);
      std::vector<float> bias = values(pitch, 2), x = values(rows * width, 1);
      std::vector<bn_dense_layer> layers(3, {width, width, 1, w.data(), bias.data()});
      layers[2] = {width, 2, 0, last.data(), bias.data()};
      if (width == 1) layers[2].bias = last.data();
      std::vector<float> a((size_t)(rows * width)), b = a, expected((size_t)rows * 2), y = expected;
      ASSERT_EQ(bn_ok, bn_dense(isa, rows, 1, &layers[0], x.data(), 0, a.data(), 0));
      ASSERT_EQ(bn_ok, bn_dense(isa, rows, 1, &layers[1], a.data(), 0, b.data(), 0));
      ASSERT_EQ(bn_ok, bn_dense(isa, rows, 1, &layers[2], b.data(), 0, expected.data(), 0));
      ASSERT_EQ(bn_ok, bn_dense(isa, rows, 3, layers.data(), x.data(), 0, y.data(), 0));
      EXPECT_EQ(expected, y) << "width " << width << ", rows " << rows;
    }
  }
}

TEST(Dense, RefusesWhatIsUnknownOrMissing) {
  float x[16] = {}, y[16] = {};
  int best = bn_detect_isa();
  bn_dense_layer one = {1, 1, 0, x, x};
  EXPECT_EQ(bn_bad_argument, bn_dense(bn_scalar, 1, 1, &one, x, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(4, 1, 1, &one, x, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, -1, 1, &one, x, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 0, &one, x, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 1, &one, x, -1, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 1, nullptr, x, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 1, &one, nullptr, 0, y, 0));
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 1, &one, x, 0, nullptr, 0));
  bn_dense_layer without = {1, 1, 0, nullptr, x};
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 1, &without, x, 0, y, 0));
  bn_dense_layer unlike[] = {{1, 2, 0, x, x}, {1, 1, 0, x, x}};
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 2, unlike, x, 0, y, 0));
  bn_dense_layer wide[] = {{1, BN_DENSE_WIDTH + 1, 0, x, x}, {BN_DENSE_WIDTH + 1, 1, 0, x, x}};
  EXPECT_EQ(bn_bad_argument, bn_dense(best, 1, 2, wide, x, 0, y, 0));
}

}  // namespace
