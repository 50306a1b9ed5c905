// The same bits on every instruction set, number of threads, layout, alignment and pitch, in place
// or not: everything is compared with the scalar kernels on one thread, dense, channels first.
#include <gtest/gtest.h>

#include <algorithm>

#include "dispatch.h"
#include "problem.h"
#include "tunings.h"

namespace {

std::string show(const Case& p, const How& h) {
  return "n=" + std::to_string(p.n) + " c=" + std::to_string(p.c) + " s=" + std::to_string(p.s) +
         " dtype=" + std::to_string(p.dtype) + " act=" + std::to_string(p.activation) +
         " residual=" + std::to_string(p.residual) + " affine=" + std::to_string(p.affine) +
         " isa=" + std::to_string(h.isa) + " threads=" + std::to_string(h.threads) +
         " layout=" + std::to_string(h.layout) + " in_place=" + std::to_string(h.in_place) +
         " misalign=" + std::to_string(h.misalign) + " gap=" + std::to_string(h.gap) +
         " mask_of_x=" + std::to_string(h.mask_of_x) + " byte=" + std::to_string(h.byte);
}

void expect_same(const Case& p, const std::vector<How>& hows) {
  Results expected = run(p, {});
  for (How how : hows) {
    for (bool mask_of_x : {false, true}) {
      if (mask_of_x && (p.activation == bn_identity || p.residual)) continue;
      how.mask_of_x = mask_of_x;
      Results got = run(p, how);
      // EXPECT_TRUE: a difference is never worth printing a megabyte.
      EXPECT_TRUE(got.bytes == expected.bytes) << show(p, how);
      EXPECT_TRUE(got.guards_intact) << show(p, how);
    }
  }
}

// Sizes by the loops they run through. Values per channel: less than a head of 16, exactly one, a
// chunk with a tail, exactly one chunk, more, more than 64 chunks (segments of two). Rows: shorter
// than a vector, exact, with tail; so many of few channels that several are taken as one. Channels:
// a tail only, exact, exact and tail, more than a strip.
const Case kSizes[] = {
    {2, 1, 1},    {1, 3, 5},     {5, 16, 3},   {16, 17, 1},  {2, 33, 8},    {3, 50, 7},
    {1, 7, 256},  {2, 5, 129},   {64, 50, 1},  {4, 64, 49},  {2, 19, 196},  {1, 2, 1021},
    {300, 16, 1}, {1, 1, 17000}, {5, 2, 3500}, {70, 600, 3}, {1030, 21, 1}, {301, 20, 1},
};

TEST(Conformance, Sizes) {
  for (const Case& p : kSizes) {
    std::vector<How> hows;
    for (int isa : isas()) {
      for (int layout : {bn_ncs, bn_nsc}) hows.push_back({isa, 1, layout});
    }
    expect_same(p, hows);
  }
}

TEST(Conformance, TypesAndFusions) {
  for (int dtype : {bn_f32, bn_f64, bn_bf16, bn_f16}) {
    for (int activation : {bn_identity, bn_relu, bn_leaky_relu}) {
      for (bool residual : {false, true}) {
        for (bool affine : {false, true}) {
          std::vector<How> hows;
          for (int isa : isas()) {
            for (int layout : {bn_ncs, bn_nsc}) {
              hows.push_back({isa, 1, layout});
              hows.push_back({isa, 2, layout, true, 3, 5});
            }
          }
          expect_same({3, 37, 43, dtype, activation, residual, affine}, hows);
          expect_same({33, 3, 17, dtype, activation, residual, affine}, hows);
        }
      }
    }
  }
}

// Channels last, rows that fill no vector and are taken several as one: each power of two of them,
// with some left over, in chunks that are full, begun, and of less than one such row.
TEST(Conformance, RowsTakenAsOne) {
  for (int dtype : {bn_f32, bn_f64, bn_bf16}) {
    for (int64_t channels : {1, 3, 10, 20, 31, 24, 100, 200}) {
      for (int64_t values : {67, 256, 259, 1000}) {
        std::vector<How> hows;
        for (int isa : isas()) hows.push_back({isa, 1, bn_nsc});
        hows.push_back({bn_detect_isa(), 2, bn_nsc, true, 1});
        int activation = values % 2 == 0 ? bn_leaky_relu : bn_relu;
        expect_same({values, channels, 1, dtype, activation, values == 259}, hows);
      }
    }
  }
}

TEST(Conformance, Threads) {
  for (const Case& p :
       {Case{16, 32, 196}, Case{2, 3, 40000}, Case{6000, 24, 1}, Case{8, 520, 49}}) {
    std::vector<How> hows;
    for (int threads : {2, 3, 7}) {
      for (int layout : {bn_ncs, bn_nsc}) hows.push_back({bn_detect_isa(), threads, layout});
    }
    expect_same(p, hows);
  }
}

TEST(Conformance, Alignments) {
  for (int dtype : {bn_f32, bn_bf16}) {
    std::vector<How> hows;
    for (int64_t misalign = 0; misalign < 16; misalign++) {
      for (int layout : {bn_ncs, bn_nsc}) {
        hows.push_back({bn_detect_isa(), 1, layout, false, misalign, misalign % 3});
      }
    }
    expect_same({2, 20, 67, dtype}, hows);
  }
}

// A slice of a network buffer begins where it does.
TEST(Conformance, DataAtAnyAddress) {
  for (int dtype : {bn_f32, bn_f64, bn_bf16, bn_f16}) {
    std::vector<How> hows;
    for (int isa : isas()) {
      for (int layout : {bn_ncs, bn_nsc}) {
        for (int64_t byte : {1, 3}) hows.push_back({isa, 1, layout, false, 0, 0, false, byte});
      }
    }
    expect_same({2, 20, 67, dtype, bn_relu}, hows);
  }
}

// Lanes that have no value must not make a NaN of it.
TEST(Conformance, AnInfiniteMeanOfAnyNumberOfValues) {
  for (int64_t s : {1, 3, 17, 100, 300}) {
    std::vector<float> x((size_t)(2 * s)), dy((size_t)(2 * s), 1.0f), dx((size_t)(2 * s));
    const float mean[2] = {INFINITY, 0.5f}, var[2] = {1, 1};
    for (int isa : isas()) {
      for (int layout : {bn_ncs, bn_nsc}) {
        const int64_t pitch = layout == bn_ncs ? 2 * s : 2;
        float dweight[2], dbias[2];
        ASSERT_EQ(bn_ok,
                  bn_backward_inference(isa, 1, bn_f32, layout, 1, 2, s, bn_identity, 0, dy.data(),
                                        pitch, x.data(), pitch, nullptr, 0, nullptr, nullptr, mean,
                                        var, 0, dx.data(), pitch, nullptr, 0, dweight, dbias));
        EXPECT_EQ(-INFINITY, dweight[0]) << "isa " << isa << " layout " << layout << " s " << s;
        EXPECT_EQ(-0.5f * (float)s, dweight[1]);
        EXPECT_EQ((float)s, dbias[0]);
      }
    }
  }
}

// However memory is walked. Rows a power of two apart, whose channel tiles are copied, the next
// while one is written; channels last knows no tiles. And what is larger than the L2 caches.
TEST(Conformance, Tunings) {
  for (const Case& p : {Case{16, 64, 1024, bn_f32, bn_relu}, Case{16, 128, 1024, bn_bf16},
                        Case{3, 67, 3136}, Case{40, 130, 196}}) {
    Results expected = run(p, {bn_scalar, 1, bn_nsc});
    for (const bn::Tuning& tuning : tunings()) {
      FollowTuning follow(tuning);
      for (const How& how :
           {How{bn_detect_isa(), 1, bn_ncs}, How{bn_detect_isa(), 2, bn_ncs, false, 0, 0, true},
            How{bn_detect_isa(), 2, bn_nsc}}) {
        EXPECT_TRUE(run(p, how).bytes == expected.bytes) << show(p, how);
      }
    }
  }
}

// Larger than the L2 caches, and often enough that stores around them are tried (stores.h).
TEST(Conformance, Streaming) {
  Case p = {16, 67, 3136};
  Results expected = run(p, {bn_detect_isa(), 1, bn_ncs, true});
  for (int layout : {bn_ncs, bn_nsc}) {
    for (int64_t misalign : {0, 5}) {
      How how = {bn_detect_isa(), 2, layout, false, misalign};
      for (int call = 0; call < 6; call++) {
        EXPECT_TRUE(run(p, how).bytes == expected.bytes) << show(p, how);
      }
    }
  }
  for (const bn::Tuning& tuning : tunings()) {
    FollowTuning follow(tuning);
    for (int layout : {bn_ncs, bn_nsc}) {
      How how = {bn_detect_isa(), 2, layout};
      EXPECT_TRUE(run(p, how).bytes == expected.bytes) << show(p, how);
    }
  }
}

// Beyond the L2, rows that do not begin where lines do: the pass takes rows of its own that do.
TEST(Conformance, RowsFromALineOn) {
  for (int dtype : {bn_f32, bn_f64, bn_bf16}) {
    for (int64_t c : {3, 64}) {
      Case p = {3, c, (int64_t{1} << 20) / c / size_of(dtype) + 5};
      p.dtype = dtype;
      p.activation = bn_relu;
      p.residual = c != 64;
      Results expected = run(p, {bn_detect_isa(), 1, bn_ncs});
      for (int64_t misalign : {1, 13}) {
        How how = {bn_detect_isa(), (int)(misalign % 3 + 1), bn_nsc, misalign == 13, misalign};
        Results actual = run(p, how);
        EXPECT_TRUE(actual.bytes == expected.bytes) << show(p, how);
        EXPECT_TRUE(actual.guards_intact) << show(p, how);
      }
    }
  }
}

// The same for each instruction set and type, without a measurement deciding.
TEST(Conformance, StreamedStores) {
  constexpr int64_t kS = 131, kRoom = 64;
  const double ones[1] = {1}, zeros[1] = {0};
  const float ones_f[1] = {1}, zeros_f[1] = {0};
  for (int isa : isas()) {
    for (int dtype : {bn_f32, bn_f64, bn_bf16, bn_f16}) {
      const void* one = dtype == bn_f64 ? (const void*)ones : ones_f;
      const void* zero = dtype == bn_f64 ? (const void*)zeros : zeros_f;
      int64_t size = size_of(dtype);
      // y = x: what is loaded is what must be there. 0x3c + i: small numbers of any type.
      std::vector<char> x((size_t)(kS * size));
      for (size_t i = 0; i < x.size(); i++) x[i] = (char)(0x3c + i % 3);
      for (int64_t misalign : {0, 1, 5}) {
        std::vector<char> y((size_t)((kS + misalign + 2 * kRoom) * size), 0x55), expected = y;
        char* out = y.data() + (-(uintptr_t)y.data() % 64) + misalign * size;
        std::memcpy(expected.data() + (out - y.data()), x.data(), x.size());
        bn::Normalize normalize = {{1, 1, kS}, {x.data(), kS}, {}, {out, kS}, zero, zero,
                                   one,        zero,           0,  true};
        bn::kernels_for(isa, dtype)->normalize_ncs[0][0](normalize, {1, 1, {}, {}}, 0, 1, 0, kS);
        EXPECT_TRUE(y == expected) << "isa " << isa << " dtype " << dtype << " at " << misalign;
      }
    }
  }
}

TEST(Conformance, SelfTest) {
  for (int isa : isas()) EXPECT_EQ(bn_ok, bn_self_test(isa));
}

// Outputs around half of the least positive number, which is stored as 0: a mask computed from x
// must not take them for positive.
template <class E>
void expect_masks(int dtype, E weight, const void* x, const std::vector<E>& passed) {
  constexpr int64_t kC = 6;
  E zeros[kC] = {}, ones[kC], weights[kC];
  std::fill_n(ones, kC, E(1));
  std::fill_n(weights, kC, weight);
  for (int isa : isas()) {
    for (int layout : {bn_ncs, bn_nsc}) {
      for (bool mask_of_x : {false, true}) {
        alignas(8) char y[kC * 8] = {};
        E dbias[kC] = {};
        ASSERT_EQ(bn_ok, bn_inference(isa, 1, dtype, layout, 1, kC, 1, bn_relu, 0, x, kC, nullptr,
                                      0, y, kC, zeros, ones, weights, nullptr, 0));
        // The gradient of y is x: any numbers will do.
        ASSERT_EQ(bn_ok,
                  bn_backward_inference(isa, 1, dtype, layout, 1, kC, 1, bn_relu, 0, x, kC, x, kC,
                                        mask_of_x ? nullptr : y, kC, weights, nullptr, zeros, ones,
                                        0, nullptr, 0, nullptr, 0, nullptr, dbias));
        for (int64_t c = 0; c < kC; c++) {
          EXPECT_EQ(passed[(size_t)c], dbias[c])
              << "dtype " << dtype << " isa " << isa << " layout " << layout << " mask_of_x "
              << mask_of_x << " value " << c;
        }
      }
    }
  }
}

TEST(Conformance, OutputsStoredAsZeroAreNotPositive) {
  // 0.5, 1, the next number, 1.5, -1 and 2, times half of the least number.
  const float f32[] = {0.5f, 1, 1 + 0x1p-23f, 1.5f, -1, 2};
  const double f64[] = {0.5, 1, 1 + 0x1p-52, 1.5, -1, 2};
  const uint16_t bf16[] = {0x3f00, 0x3f80, 0x3f81, 0x3fc0, 0xbf80, 0x4000};
  const uint16_t f16[] = {0x3800, 0x3c00, 0x3c01, 0x3e00, 0xbc00, 0x4000};
  expect_masks<float>(bn_bf16, 0x1p-134f, bf16, {0, 0, 1 + 0x1p-7f, 1.5f, 0, 2});
  expect_masks<float>(bn_f16, 0x1p-25f, f16, {0, 0, 1 + 0x1p-10f, 1.5f, 0, 2});
  // Half of the least f32 or f64 is no weight: with the least itself, 0.5 is stored as 0.
  expect_masks<float>(bn_f32, 0x1p-149f, f32, {0, 1, 1 + 0x1p-23f, 1.5f, 0, 2});
  expect_masks<double>(bn_f64, 0x1p-1074, f64, {0, 1, 1 + 0x1p-52, 1.5, 0, 2});
}

// Values that float sums cannot hold take the wide path, in both layouts.
TEST(Conformance, WideValues) {
  constexpr int64_t kN = 3, kC = 20, kS = 31;
  std::string expected;
  for (int isa : isas()) {
    for (int layout : {bn_ncs, bn_nsc}) {
      float x[kN * kC * kS], y[kN * kC * kS], mean[kC], low[kC], inv_std[kC];
      for (int64_t n = 0; n < kN; n++) {
        for (int64_t c = 0; c < kC; c++) {
          for (int64_t i = 0; i < kS; i++) {
            float size = c % 5 == 0 ? 1e30f : c % 5 == 1 ? 1e-30f : c % 5 == 2 ? 3e38f : 1;
            int64_t at = layout == bn_ncs ? (n * kC + c) * kS + i : (n * kS + i) * kC + c;
            x[at] = c % 5 == 3 ? 7 : (float)((n * 7 + i * 3 + c) % 13 - 6) / 6 * size;
          }
        }
      }
      int64_t pitch = layout == bn_ncs ? kC * kS : kC;
      ASSERT_EQ(bn_ok, bn_training(isa, 1, bn_f32, layout, kN, kC, kS, bn_identity, 0, x, pitch,
                                   nullptr, 0, y, pitch, nullptr, nullptr, 1e-5, mean, low, inv_std,
                                   nullptr, nullptr, 0));
      std::string got((char*)mean, sizeof mean);
      got.append((char*)inv_std, sizeof inv_std);
      if (expected.empty()) expected = got;
      EXPECT_TRUE(got == expected) << "isa " << isa << " layout " << layout;
      // Normalized values of order 1, whatever the size of the data; 0 where it is constant.
      EXPECT_EQ(0, y[3 * (layout == bn_ncs ? kS : 1)]);
      for (int64_t c : {0, 2}) {
        float v = y[c * (layout == bn_ncs ? kS : 1)];
        EXPECT_TRUE(std::isfinite(v) && std::fabs(v) < 3 && v != 0) << c << ": " << v;
      }
    }
  }
}

}  // namespace
