// The ways through memory that only large problems take (kernels/walk.inl), tried at the kernels on
// small ones: streams side by side, stores around the caches, parts of samples, what is copied
// over what was read. Compared with the scalar channels-last kernels, which walk plainly, channel
// by channel.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "problem.h"
#include "schedule.h"
#include "tuning.h"
#include "tunings.h"

namespace {

using bn::Extent;
using bn::Gradient;
using bn::Normalize;

struct Part {
  Extent extent;
  int64_t n0, n1, f0, f1;
};

const Part kParts[] = {
    {{1, 1, 700}, 0, 1, 0, 700},    {{1, 40, 3}, 0, 1, 0, 120},      {{1, 40, 3}, 0, 1, 7, 111},
    {{1, 5, 129}, 0, 1, 130, 645},  {{3, 7, 1}, 0, 3, 0, 7},         {{9, 2, 17}, 1, 9, 0, 34},
    {{2, 3, 600}, 0, 2, 600, 1800}, {{12, 1, 49}, 2, 12, 0, 49},     {{1, 130, 16}, 0, 1, 0, 2080},
    {{1, 61, 49}, 0, 1, 50, 2989},  {{3, 2, 1000}, 0, 3, 333, 1999}, {{20, 30, 2}, 0, 20, 1, 60},
};

// Numbers of any type: random bytes under an exponent near 1, of which no sum overflows.
std::vector<char> numbers(int64_t count, int dtype, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<char> bytes((size_t)(count * size_of(dtype)));
  for (int64_t i = 0; i < count; i++) {
    char* p = bytes.data() + i * size_of(dtype);
    uint32_t bits = random();
    float f = 0.5f + (float)(bits & 0xffff) * 0x1p-16f;
    double d = (double)f + (double)(bits >> 16) * 0x1p-40;
    uint16_t half = (uint16_t)((dtype == bn_bf16 ? 0x3f00 : 0x3800) | (bits & 0x7f));
    if (dtype == bn_f32) std::memcpy(p, &f, 4);
    if (dtype == bn_f64) std::memcpy(p, &d, 8);
    if (dtype == bn_bf16 || dtype == bn_f16) std::memcpy(p, &half, 2);
  }
  return bytes;
}

struct Arrays {
  int64_t size, pitch, parameter_size;
  std::vector<char> a, b, c, parameters[4], out, out2;

  Arrays(const Part& part, int dtype, int64_t gap, int64_t channels)
      : size(size_of(dtype)),
        pitch(part.extent.c * part.extent.s + gap),
        parameter_size(dtype == bn_f64 ? 8 : 4) {
    int64_t count = part.extent.n * pitch;
    a = numbers(count, dtype, 1);
    b = numbers(count, dtype, 2);
    c = numbers(count, dtype, 3);
    for (int i = 0; i < 4; i++) {
      parameters[i] = numbers(channels, dtype == bn_f64 ? bn_f64 : bn_f32, 10 + i);
    }
    // Room to align the output.
    out.assign((size_t)((count + 64) * size), 0x55);
    out2 = out;
  }
  const void* parameter(int i, int64_t channel) const {
    return parameters[i].data() + channel * parameter_size;
  }
  // At the begin of a line, and `off` elements further.
  char* output(std::vector<char>& v, int64_t off) const {
    return v.data() + (-(uintptr_t)v.data() % 64) + off * size;
  }
};

// Calls f(part of one channel of one sample, first value, values).
template <class F>
void each_row(const Part& part, F f) {
  for (int64_t n = part.n0; n < part.n1; n++) {
    for (int64_t c = 0; c < part.extent.c; c++) {
      int64_t from = std::max(c * part.extent.s, part.f0);
      int64_t to = std::min((c + 1) * part.extent.s, part.f1);
      if (from < to) f(n, c, from, to - from);
    }
  }
}

// Every way to walk gives what the plain walk over rows gives, writes nothing else, and copies what
// it should over the input with number `ahead`. make(arrays, first value, channel, extent, pitch).
template <class Make, class Plain, class Walked>
void expect_same(const Part& part, int64_t gap, int dtype, int ahead,
                 std::vector<char> Arrays::*input, Make make, Plain plain, Walked walked) {
  Arrays expected(part, dtype, gap, part.extent.c);
  each_row(part, [&](int64_t n, int64_t c, int64_t f, int64_t count) {
    auto a = make(expected, n * expected.pitch + f, c, Extent{1, 1, count}, 1);
    plain (*bn::kernels_for(bn_scalar, dtype))(a, 1, 0, count);
  });
  for (int isa : isas()) {
    for (auto [streams, shared] : {std::pair{1, 1}, {1, 4}, {2, 1}, {3, 1}, {4, 4}, {8, 4}}) {
      for (bool around : {false, true}) {
        Arrays got(part, dtype, gap, part.extent.c);
        auto a = make(got, 0, 0, part.extent, got.pitch);
        a.around = around;
        bn::Walk walk = {streams, shared, {}, {}};
        walk.from[ahead] = {got.c.data(), got.pitch};
        walk.to[ahead] = {(got.*input).data(), got.pitch};
        walked (*bn::kernels_for(isa, dtype))(a, walk, part.n0, part.n1, part.f0, part.f1);
        for (auto v : {&Arrays::out, &Arrays::out2}) {
          EXPECT_TRUE(0 == std::memcmp(got.output(got.*v, 0), expected.output(expected.*v, 0),
                                       (size_t)(part.extent.n * got.pitch * got.size)))
              << "isa " << isa << " streams " << streams << " shared " << shared << " around "
              << around << " s " << part.extent.s;
        }
        std::vector<char> replaced = expected.*input;
        each_row(part, [&](int64_t n, int64_t, int64_t f, int64_t count) {
          int64_t at = (n * got.pitch + f) * got.size;
          std::memcpy(replaced.data() + at, got.c.data() + at, (size_t)(count * got.size));
        });
        EXPECT_TRUE(replaced == got.*input);
      }
    }
  }
}

template <class Make, class Plain, class Walked>
void expect_same_parts(int dtype, int ahead, std::vector<char> Arrays::*input, Make make,
                       Plain plain, Walked walked) {
  for (const Part& part : kParts) {
    for (int64_t off : {0, 3, 20}) {
      auto at = [&](Arrays& m, int64_t first, int64_t channel, Extent extent, int64_t pitch) {
        return make(m, off, first, channel, extent, pitch);
      };
      expect_same(part, 5, dtype, ahead, input, at, plain, walked);
      if (part.n1 - part.n0 == 1) continue;
      // The lines of all samples begin alike.
      int64_t gap = -(part.extent.c * part.extent.s) & 31;
      expect_same(part, gap, dtype, ahead, input, at, plain, walked);
    }
  }
}

Normalize normalize_args(Arrays& m, int64_t off, int64_t at, int64_t channel, Extent extent,
                         int64_t pitch) {
  Normalize a = {};
  a.extent = extent;
  a.x = {m.a.data() + at * m.size, pitch};
  a.residual = {m.b.data() + at * m.size, pitch};
  a.y = {m.output(m.out, off) + at * m.size, pitch};
  const void** to[] = {&a.mean, &a.mean_low, &a.scale, &a.bias};
  for (int i = 0; i < 4; i++) *to[i] = m.parameter(i, channel);
  return a;
}

Gradient gradient_args(Arrays& m, int64_t off, int64_t at, int64_t channel, Extent extent,
                       int64_t pitch) {
  Gradient a = {};
  a.extent = extent;
  a.dy = {m.a.data() + at * m.size, pitch};
  a.x = {m.b.data() + at * m.size, pitch};
  a.y = {m.c.data() + at * m.size, pitch};
  a.dx = {m.output(m.out, off) + at * m.size, pitch};
  a.dresidual = {m.output(m.out2, off) + at * m.size, pitch};
  const void** to[] = {&a.mean, &a.scale, &a.c1, &a.c2};
  for (int i = 0; i < 4; i++) *to[i] = m.parameter(i, channel);
  a.mean_low = a.c2;
  a.bias = a.c1;
  a.slope = 0.25;
  return a;
}

// Channels last: rows side by side, streamed or not, as one by one.
template <class Make, class Kernel>
void expect_same_rows(int dtype, Make make, Kernel kernel) {
  struct Rows {
    int64_t count, c, gap;
  };
  // The pitch decides whether rows are streamed: a multiple of 32, of 16 only, of neither.
  for (Rows rows : {Rows{1, 96, 0}, Rows{9, 64, 0}, Rows{13, 61, 3}, Rows{5, 100, 28},
                    Rows{17, 48, 0}, Rows{6, 37, 0}, Rows{21, 15, 17}}) {
    for (int64_t off : {0, 3, 16, 20}) {
      Part part = {{1, 1, rows.count * (rows.c + rows.gap)}, 0, 1, 0, 0};
      Extent extent = {rows.count, rows.c, 1};
      Arrays expected(part, dtype, 0, rows.c);
      auto a = make(expected, off, 0, 0, extent, rows.c + rows.gap);
      for (int64_t r = 0; r < rows.count; r++) {
        kernel (*bn::kernels_for(bn_scalar, dtype))(a, 1, r, r + 1);
      }
      for (int isa : isas()) {
        for (int64_t streams : {1, 2, 3, 4, 8}) {
          for (bool around : {false, true}) {
            Arrays got(part, dtype, 0, rows.c);
            auto b = make(got, off, 0, 0, extent, rows.c + rows.gap);
            b.around = around;
            kernel (*bn::kernels_for(isa, dtype))(b, streams, 0, rows.count);
            for (auto v : {&Arrays::out, &Arrays::out2}) {
              EXPECT_TRUE(0 == std::memcmp(got.output(got.*v, 0), expected.output(expected.*v, 0),
                                           (size_t)((got.pitch + off) * got.size)))
                  << "isa " << isa << " streams " << streams << " around " << around << " off "
                  << off << " rows " << rows.count << " c " << rows.c;
            }
          }
        }
      }
    }
  }
}

class Walks : public ::testing::TestWithParam<int> {};

TEST_P(Walks, Normalize) {
  expect_same_parts(
      GetParam(), 0, &Arrays::a, normalize_args,
      [](const bn::Kernels& k) { return k.normalize_nsc[bn_relu][true]; },
      [](const bn::Kernels& k) { return k.normalize_ncs[bn_relu][true]; });
}

TEST_P(Walks, Gradient) {
  expect_same_parts(
      GetParam(), 1, &Arrays::b, gradient_args,
      [](const bn::Kernels& k) { return k.gradient_nsc[bn_leaky_relu][true][true]; },
      [](const bn::Kernels& k) { return k.gradient_ncs[bn_leaky_relu][true][true]; });
}

TEST_P(Walks, GradientMaskedByX) {
  expect_same_parts(
      GetParam(), 1, &Arrays::b, gradient_args,
      [](const bn::Kernels& k) { return k.gradient_nsc[bn_leaky_relu + 2][true][false]; },
      [](const bn::Kernels& k) { return k.gradient_ncs[bn_leaky_relu + 2][true][false]; });
}

TEST_P(Walks, NormalizeRows) {
  expect_same_rows(GetParam(), normalize_args,
                   [](const bn::Kernels& k) { return k.normalize_nsc[bn_relu][true]; });
}

TEST_P(Walks, GradientRows) {
  expect_same_rows(GetParam(), gradient_args,
                   [](const bn::Kernels& k) { return k.gradient_nsc[bn_leaky_relu][true][true]; });
}

// Channels last: sums with some rows of every lane at a time, as with all of a lane.
TEST_P(Walks, SumsOfRows) {
  int dtype = GetParam();
  for (int64_t count : {49, 65, 200, 256, 523}) {
    for (int64_t c : {5, 32, 47, 100, 600}) {
      int64_t pitch = c + 3;
      Extent extent = {count, c, 1};
      Arrays arrays({{1, 1, count * pitch}, 0, 1, 0, 0}, dtype, 0, c);
      auto args = gradient_args(arrays, 0, 0, 0, extent, pitch);
      auto sums = [&](int isa, int64_t lane_rows) {
        std::vector<double> g((size_t)c), dot(g), all, lanes(bn::kLaneBytes / sizeof(double));
        for (auto kernel : bn::kernels_for(isa, dtype)->sums_nsc) {
          kernel(args, 0, c, 0, (count + bn::kChunk - 1) / bn::kChunk, lanes.data(), lane_rows,
                 g.data(), dot.data());
          all.insert(all.end(), g.begin(), g.end());
          all.insert(all.end(), dot.begin(), dot.end());
        }
        return all;
      };
      auto expected = sums(bn_scalar, 16);
      for (int isa : isas()) {
        for (int64_t lane_rows : {1, 2, 4, 8, 16}) {
          EXPECT_EQ(expected, sums(isa, lane_rows))
              << "isa " << isa << " lane rows " << lane_rows << " rows " << count << " c " << c;
        }
      }
    }
  }
}

// Channels first: sums of several segments at once are those of each alone, also while other chunks
// are fetched ahead, up to more than there are, and whether chunks of several samples are copied
// together or summed where they are.
TEST_P(Walks, SumsBySegments) {
  int dtype = GetParam();
  for (Extent extent :
       {Extent{3, 5, 300}, Extent{2, 4, 256}, Extent{5, 3, 1000}, Extent{40, 7, 50},
        Extent{33, 3, 17}, Extent{21, 2, 16}, Extent{19, 2, 49}, Extent{90, 2, 15}}) {
    int64_t pitch = extent.c * extent.s + 9;
    Arrays arrays({{1, 1, extent.n * pitch}, 0, 1, 0, 0}, dtype, 0, extent.c);
    auto args = gradient_args(arrays, 0, 0, 0, extent, pitch);
    int64_t chunks = (extent.values() + bn::kChunk - 1) / bn::kChunk;
    for (int64_t segment : {1, 2, 3, 100}) {
      // Results of all kernels, of so many segments at a time.
      auto sums = [&](int isa, int64_t at_once, int64_t ahead) {
        const bn::Kernels& kernels = *bn::kernels_for(isa, dtype);
        auto count = (size_t)((chunks + segment - 1) / segment * extent.c);
        std::vector<std::vector<double>> results(12, std::vector<double>(count));
        for (int64_t i = 0; i * segment < chunks; i += at_once) {
          int64_t q0 = i * segment, q1 = std::min(q0 + at_once * segment, chunks);
          auto p = (const char*)args.x.p;
          bn::Fetch besides = {ahead, 100, {p, p, p}, {pitch, pitch + 1, -pitch}};
          bn::Chunks some = {0, extent.c, q0, q1, segment, ahead, besides};
          auto at = [&](size_t k) { return results[k].data() + i * extent.c; };
          kernels.moments_ncs(extent, args.x, some, at(0), at(1));
          for (size_t k = 0; k < 5; k++)
            kernels.sums_ncs[k](args, some, at(2 * k + 2), at(2 * k + 3));
        }
        return results;
      };
      auto expected = sums(bn_scalar, 1, 0);
      for (int isa : isas()) {
        for (int64_t at_once : {1, 2, 100}) {
          for (int64_t ahead : {0, 1, 6, 100}) {
            EXPECT_EQ(expected, sums(isa, at_once, ahead))
                << "isa " << isa << " segment " << segment << " at once " << at_once << " ahead "
                << ahead << " n " << extent.n << " s " << extent.s;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Walks, ::testing::Values(bn_f32, bn_f64, bn_bf16, bn_f16));

// What is small enough for a cache is not, as a slice of what is not.
TEST(Plan, SlicesGoThroughMemoryAsTheirWhole) {
  bn::Plan plan = {{100, 10, 1}, true, 1, 4, 2, false};
  EXPECT_FALSE(plan.beyond_l2());
  EXPECT_EQ(1, plan.streams());
  plan.whole = int64_t{1} << 32;
  EXPECT_TRUE(plan.beyond_l2());
  EXPECT_TRUE(plan.beyond_l3());
  EXPECT_EQ(bn::tuning().row_streams, plan.streams());
}

// Streams that want to be megabytes apart are not in slices.
TEST(Plan, SlicesAreTooShortForStreamsFarApart) {
  bn::Plan slice = {{1, 20, 3136}, false, 1, 4, 2, false};
  slice.whole = int64_t{1} << 32;
  bn::Plan whole = {{32, 256, 3136}, false, 1, 4, 2, false};
  whole.whole = slice.whole;
  for (const bn::Tuning& tuning : {bn::kUsualTuning, bn::kAmdTuning}) {
    FollowTuning follow(tuning);
    EXPECT_EQ(tuning.streams, whole.streams());
    EXPECT_EQ(slice.bytes() < tuning.task ? tuning.other_streams : tuning.streams, slice.streams());
  }
}

// Only rows that end soon, of several samples, from beyond the caches, are fetched by hand.
TEST(Plan, FetchesChunksAheadOfRowsThatEndSoon) {
  int64_t many = 32 * bn::l2_bytes();
  auto ahead = [](int64_t n, int64_t c, int64_t s) {
    return bn::Plan{{n, c, s}, false, 1, 4, 2, true}.chunks_ahead();
  };
  EXPECT_EQ(bn::tuning().chunks_ahead, ahead(32, many / 32 / 3136 / 4, 3136));
  EXPECT_EQ(0, ahead(1, many / 3136 / 4, 3136));
  EXPECT_EQ(0, ahead(32, many / 32 / 196 / 4, 196));
  EXPECT_EQ(0, ahead(32, 1 + many / 32 / 50176 / 4, 50176));
  EXPECT_EQ(0, ahead(2, 4, 3136));
}

// From beyond the caches, rows that are narrow, but not too narrow, are summed in their order.
TEST(Plan, SumsNarrowRowsInOrder) {
  FollowTuning amd(bn::kAmdTuning);
  int64_t many = 64 * bn::l2_bytes();
  auto rows = [](int64_t bytes, int64_t c, int64_t element, int arrays) {
    bn::Plan plan = {{bytes / c / element, c, 1}, true, 1, element, arrays, true};
    return plan.lane_rows(arrays);
  };
  EXPECT_EQ(1, rows(many, 64, 4, 2));
  EXPECT_EQ(1, rows(many, 64, 2, 2));  // the sums are of floats
  EXPECT_EQ(4, rows(many, 64, 8, 2));
  EXPECT_EQ(4, rows(many, 65, 4, 2));
  EXPECT_EQ(4, rows(many, 7, 4, 2));
  EXPECT_EQ(8, rows(many / 4, 64, 4, 2));  // in the caches
  EXPECT_EQ(1, rows(many, 48, 4, 1));
  EXPECT_EQ(8, rows(many, 64, 4, 1));
  FollowTuning usual(bn::kUsualTuning);
  EXPECT_EQ(4, rows(many, 64, 4, 2));
  EXPECT_EQ(16, rows(many / 4, 64, 4, 2));
}

}  // namespace
