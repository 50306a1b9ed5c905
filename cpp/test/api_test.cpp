// What the C ABI refuses, and that it then changes nothing; and that its steps are its whole.
#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>
#include <vector>

#include "batchnorm4j.h"

namespace {

struct Fixture {
  float x[24] = {}, y[24], one[3] = {1, 1, 1}, out[3] = {5, 5, 5};
  Fixture() {
    for (float& v : y) v = 9;
  }
  int infer(int isa, int threads, int dtype, int layout, int64_t n, int64_t c, int64_t s, int act,
            const void* in, int64_t pitch, const void* mean, double slope = 0) {
    return bn_inference(isa, threads, dtype, layout, n, c, s, act, slope, in, pitch, nullptr, 0, y,
                        pitch, mean, one, nullptr, nullptr, 1e-5);
  }
  bool untouched() const {
    for (float v : y) {
      if (v != 9) return false;
    }
    return true;
  }
};

TEST(Api, RefusesWhatIsUnknownOrMissing) {
  Fixture f;
  int isa = bn_detect_isa();
  EXPECT_EQ(bn_bad_argument, f.infer(9, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(-1, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 0, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, 4, bn_ncs, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, 2, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, -2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 3, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, nullptr, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 11, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_nsc, 2, 3, 4, 0, f.x, 2, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 12, nullptr));
  // Products that overflow, though with the third size they are 0.
  const int64_t most = int64_t{1} << 40;
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 0, most, most, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, most, 0, most, 0, f.x, 12, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 0, 2 * most, 0, 0, f.x, 12, f.one));
  // A pitch with which the last sample's address overflows; of a single sample it is of no use.
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, most / 2 + 1, f.one));
  EXPECT_EQ(bn_bad_argument, f.infer(isa, 1, bn_f32, bn_ncs, 1, 3, 4, 0, f.x, INT64_MAX, f.one));
  // Slopes with which the output's sign would tell nothing of its input's.
  for (double slope : {0.0, -0.5, 2 * (double)FLT_MAX, (double)NAN}) {
    EXPECT_EQ(bn_bad_argument,
              f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, bn_leaky_relu, f.x, 12, f.one, slope));
  }
  EXPECT_TRUE(f.untouched());
  EXPECT_EQ(bn_ok, f.infer(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, f.x, 12, f.one));
  EXPECT_FALSE(f.untouched());
}

TEST(Api, EmptyBatchChangesNothingButGradients) {
  Fixture f;
  int isa = bn_detect_isa();
  float mean[3] = {7, 7, 7}, var[3] = {8, 8, 8};
  EXPECT_EQ(bn_ok,
            bn_training(isa, 2, bn_f32, bn_ncs, 0, 3, 4, bn_identity, 0, nullptr, 12, nullptr, 0,
                        nullptr, 12, nullptr, nullptr, 1e-5, f.out, f.out, f.out, mean, var, 0.1));
  EXPECT_EQ(7, mean[0]);
  EXPECT_EQ(8, var[2]);
  EXPECT_EQ(bn_ok, bn_backward_training(isa, 2, bn_f32, bn_ncs, 0, 3, 4, bn_identity, 0, nullptr,
                                        12, nullptr, 12, nullptr, 0, nullptr, nullptr, f.one, f.one,
                                        f.one, nullptr, 0, nullptr, 0, mean, var));
  EXPECT_EQ(0, mean[0]);
  EXPECT_EQ(0, var[2]);
  double sum_dy[3] = {7, 7, 7}, dot[3] = {8, 8, 8};
  EXPECT_EQ(bn_ok, bn_gradient_sums(isa, 2, bn_f32, bn_ncs, 0, 3, 4, bn_identity, 0, nullptr, 12,
                                    nullptr, 12, nullptr, 0, f.one, f.one, sum_dy, dot));
  EXPECT_EQ(0, sum_dy[0]);
  EXPECT_EQ(0, dot[2]);
}

// The mask alone, without dx: g goes to dresidual.
TEST(Api, ResidualGradientAlone) {
  int isa = bn_detect_isa();
  float dy[4] = {1, 2, 3, 4}, x[4] = {1, 2, 3, 4}, y[4] = {-1, 1, 0, 2}, g[4] = {};
  float mean[1] = {2.5f}, low[1] = {0}, inv_std[1] = {1}, dbias[1];
  EXPECT_EQ(bn_ok, bn_backward_training(isa, 1, bn_f32, bn_ncs, 4, 1, 1, bn_relu, 0, dy, 1, x, 1, y,
                                        1, nullptr, nullptr, mean, low, inv_std, nullptr, 0, g, 1,
                                        nullptr, dbias));
  EXPECT_EQ(0, g[0]);
  EXPECT_EQ(2, g[1]);
  EXPECT_EQ(0, g[2]);
  EXPECT_EQ(4, g[3]);
  EXPECT_EQ(6, dbias[0]);
}

// Where a residual was added, x and bias do not tell the output's sign.
TEST(Api, MaskWithResidualNeedsOutput) {
  int isa = bn_detect_isa();
  float dy[4] = {1, 2, 3, 4}, x[4] = {1, 2, 3, 4}, dx[4] = {}, g[4] = {};
  float mean[1] = {2.5f}, low[1] = {0}, inv_std[1] = {1};
  EXPECT_EQ(bn_bad_argument, bn_backward_training(isa, 1, bn_f32, bn_ncs, 4, 1, 1, bn_relu, 0, dy,
                                                  1, x, 1, nullptr, 1, nullptr, nullptr, mean, low,
                                                  inv_std, dx, 1, g, 1, nullptr, nullptr));
  EXPECT_EQ(0, dx[3]);
  EXPECT_EQ(0, g[3]);
}

// One array as weight, bias and both running statistics: all are read before any is written.
TEST(Api, OneArrayForAllParameters) {
  float x[12], y[12], expected[12], one[3] = {1, 1, 1}, all[3] = {1, 1, 1};
  float mean[3], low[3], inv_std[3], rm[3] = {1, 1, 1}, rv[3] = {1, 1, 1};
  for (int i = 0; i < 12; i++) x[i] = (float)(i * i % 7);
  for (int isa : {(int)bn_scalar, bn_detect_isa()}) {
    for (int i = 0; i < 3; i++) all[i] = 1;
    EXPECT_EQ(bn_ok, bn_training(isa, 1, bn_f32, bn_nsc, 4, 3, 1, 0, 0, x, 3, nullptr, 0, expected,
                                 3, one, one, 1e-5, mean, low, inv_std, rm, rv, 0.1));
    EXPECT_EQ(bn_ok, bn_training(isa, 1, bn_f32, bn_nsc, 4, 3, 1, 0, 0, x, 3, nullptr, 0, y, 3, all,
                                 all, 1e-5, mean, low, inv_std, all, all, 0.1));
    for (int i = 0; i < 12; i++) EXPECT_EQ(expected[i], y[i]);
  }
}

// Whatever the whole is, and so which stores: the bits of the slice alone.
TEST(Api, Slice) {
  int isa = bn_detect_isa();
  float x[40], y[40], expected[40], one[3] = {1, 2, 3};
  for (int i = 0; i < 40; i++) x[i] = (float)(i * i % 7);
  auto slice = [&](int64_t whole) {
    return bn_inference_slice(isa, bn_f32, bn_ncs, 1, 3, 13, bn_relu, 0, x, 39, nullptr, 0, y + 1,
                              39, one, one, one, one, 1e-5, whole);
  };
  for (float& v : y) v = 9;
  EXPECT_EQ(bn_bad_argument, slice(-1));
  EXPECT_EQ(bn_bad_argument, slice(int64_t{1} << 41));
  for (float v : y) EXPECT_EQ(9, v);
  ASSERT_EQ(bn_ok, bn_inference(isa, 1, bn_f32, bn_ncs, 1, 3, 13, bn_relu, 0, x, 39, nullptr, 0,
                                expected, 39, one, one, one, one, 1e-5));
  for (int64_t whole : {0, 39, 1 << 24}) {  // the large one around the caches
    for (float& v : y) v = 9;
    ASSERT_EQ(bn_ok, slice(whole));
    EXPECT_EQ(9, y[0]);
    for (int i = 0; i < 39; i++) EXPECT_EQ(expected[i], y[i + 1]);
  }
}

// Training and its backward, and the same of their steps: E of data, its dtype.
template <class E>
void steps_are_the_whole(int dtype, int isa, int layout, int threads) {
  const int64_t n = 5, c = 19, s = 70, r = n * s, pitch = layout == bn_ncs ? c * s : c;
  const double eps = 1e-5;
  auto values = [](int64_t count) { return std::vector<E>((size_t)count); };
  std::vector<E> x = values(n * c * s), dy = x, y = x, dx = x, by_steps = x;
  std::mt19937 random(7);
  std::normal_distribution<double> normal(0.4, 1);
  for (E& v : x) v = (E)normal(random);
  for (E& v : dy) v = (E)normal(random);
  std::vector<E> mean = values(c), low = mean, inv_std = mean, dweight = mean, dbias = mean;
  std::vector<E> weight(mean.size(), 1.5f), bias(mean.size(), -0.25f);
  std::vector<double> mean64(mean.size()), m2 = mean64, sum_dy = mean64, dot = mean64;
  ASSERT_EQ(bn_ok, bn_training(isa, threads, dtype, layout, n, c, s, bn_relu, 0, x.data(), pitch,
                               nullptr, 0, y.data(), pitch, weight.data(), bias.data(), eps,
                               mean.data(), low.data(), inv_std.data(), nullptr, nullptr, 0));
  ASSERT_EQ(bn_ok, bn_statistics(isa, threads, dtype, layout, n, c, s, x.data(), pitch,
                                 mean64.data(), m2.data()));
  ASSERT_EQ(bn_ok, bn_normalize(isa, threads, dtype, layout, n, c, s, bn_relu, 0, x.data(), pitch,
                                nullptr, 0, by_steps.data(), pitch, mean.data(), low.data(),
                                inv_std.data(), weight.data(), bias.data()));
  EXPECT_EQ(y, by_steps);
  ASSERT_EQ(bn_ok, bn_backward_training(
                       isa, threads, dtype, layout, n, c, s, bn_relu, 0, dy.data(), pitch, x.data(),
                       pitch, y.data(), pitch, weight.data(), bias.data(), mean.data(), low.data(),
                       inv_std.data(), dx.data(), pitch, nullptr, 0, dweight.data(), dbias.data()));
  ASSERT_EQ(bn_ok, bn_gradient_sums(isa, threads, dtype, layout, n, c, s, bn_relu, 0, dy.data(),
                                    pitch, x.data(), pitch, y.data(), pitch, mean.data(),
                                    low.data(), sum_dy.data(), dot.data()));
  ASSERT_EQ(bn_ok, bn_input_gradient(isa, threads, dtype, layout, n, c, s, bn_relu, 0, dy.data(),
                                     pitch, x.data(), pitch, y.data(), pitch, weight.data(),
                                     mean.data(), low.data(), inv_std.data(), sum_dy.data(),
                                     dot.data(), (double)r, by_steps.data(), pitch, nullptr, 0));
  EXPECT_EQ(dx, by_steps);
  for (size_t i = 0; i < mean.size(); i++) {
    EXPECT_EQ(mean[i], (E)mean64[i]);
    EXPECT_EQ(inv_std[i], (E)(1 / std::sqrt(m2[i] / (double)r + eps)));
    EXPECT_EQ(dbias[i], (E)sum_dy[i]);
    EXPECT_EQ(dweight[i], (E)(dot[i] * (double)inv_std[i]));
  }
}

TEST(Api, StepsAreTheWhole) {
  for (int isa : {(int)bn_scalar, bn_detect_isa()}) {
    for (int layout : {bn_ncs, bn_nsc}) {
      for (int threads : {1, 3}) {
        steps_are_the_whole<float>(bn_f32, isa, layout, threads);
        steps_are_the_whole<double>(bn_f64, isa, layout, threads);
      }
    }
  }
}

TEST(Api, StepsRefuseWhatIsMissing) {
  Fixture f;
  int isa = bn_detect_isa();
  double sums[3] = {5, 5, 5};
  EXPECT_EQ(bn_bad_argument,
            bn_statistics(isa, 1, bn_f32, bn_ncs, 2, 3, 4, nullptr, 12, sums, sums));
  EXPECT_EQ(bn_bad_argument, bn_statistics(isa, 1, bn_f32, bn_ncs, 2, 3, 4, f.x, 11, sums, sums));
  EXPECT_EQ(bn_bad_argument,
            bn_statistics(isa, 1, bn_f32, bn_ncs, 2, 3, 4, f.x, 12, sums, nullptr));
  EXPECT_EQ(bn_bad_argument, bn_gradient_sums(isa, 1, bn_f32, bn_ncs, 2, 3, 4, bn_relu, 0, f.x, 12,
                                              f.x, 12, nullptr, 12, f.one, f.one, sums, sums));
  EXPECT_EQ(bn_bad_argument, bn_normalize(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, 0, f.x, 12, nullptr,
                                          0, f.y, 12, f.one, nullptr, f.one, nullptr, nullptr));
  EXPECT_EQ(bn_bad_argument,
            bn_input_gradient(isa, 1, bn_f32, bn_ncs, 2, 3, 4, 0, 0, f.x, 12, f.x, 12, nullptr, 0,
                              nullptr, f.one, f.one, f.one, sums, nullptr, 8, f.y, 12, nullptr, 0));
  for (double v : sums) EXPECT_EQ(5, v);
  EXPECT_TRUE(f.untouched());
}

}  // namespace
