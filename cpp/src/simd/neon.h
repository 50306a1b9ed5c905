// The vector vocabulary on NEON (AArch64's baseline): 16 lanes of float or double.
// scalar.h says what each word means.
#pragma once
#include <arm_neon.h>

#include "../element.h"

namespace bn::neon {

template <class E>
struct Vec;
template <>
struct Vec<float> {
  static constexpr int kCount = 4, kLanes = 4;
  float32x4_t v[kCount];
};
template <>
struct Vec<double> {
  static constexpr int kCount = 8, kLanes = 2;
  float64x2_t v[kCount];
};

// ---- one register

BN_INLINE float32x4_t splat1(float x) { return vdupq_n_f32(x); }
BN_INLINE float64x2_t splat1(double x) { return vdupq_n_f64(x); }
BN_INLINE float32x4_t root1(float32x4_t x) { return vsqrtq_f32(x); }
BN_INLINE float64x2_t root1(float64x2_t x) { return vsqrtq_f64(x); }
BN_INLINE float32x4_t fma1(float32x4_t x, float32x4_t y, float32x4_t z) {
  return vfmaq_f32(z, x, y);
}
BN_INLINE float64x2_t fma1(float64x2_t x, float64x2_t y, float64x2_t z) {
  return vfmaq_f64(z, x, y);
}
BN_INLINE float32x4_t fnma1(float32x4_t x, float32x4_t y, float32x4_t z) {
  return vfmsq_f32(z, x, y);
}
BN_INLINE float64x2_t fnma1(float64x2_t x, float64x2_t y, float64x2_t z) {
  return vfmsq_f64(z, x, y);
}
BN_INLINE uint32x4_t negative1(float32x4_t x) { return vcltzq_f32(x); }
BN_INLINE uint64x2_t negative1(float64x2_t x) { return vcltzq_f64(x); }
BN_INLINE uint32x4_t not_positive1(float32x4_t x) { return vclezq_f32(x); }
BN_INLINE uint64x2_t not_positive1(float64x2_t x) { return vclezq_f64(x); }
BN_INLINE float32x4_t choose1(uint32x4_t m, float32x4_t then, float32x4_t otherwise) {
  return vbslq_f32(m, then, otherwise);
}
BN_INLINE float64x2_t choose1(uint64x2_t m, float64x2_t then, float64x2_t otherwise) {
  return vbslq_f64(m, then, otherwise);
}

BN_INLINE float32x4_t load1(const float* p) { return vld1q_f32(p); }
BN_INLINE float64x2_t load1(const double* p) { return vld1q_f64(p); }
BN_INLINE void store1(float* p, float32x4_t x) { vst1q_f32(p, x); }
BN_INLINE void store1(double* p, float64x2_t x) { vst1q_f64(p, x); }

BN_INLINE float32x4_t from_bits(Bf16, uint16x4_t h) {
  return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
BN_INLINE float32x4_t from_bits(F16, uint16x4_t h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); }
BN_INLINE uint16x4_t to_bits(Bf16, float32x4_t x) {
  uint32x4_t b = vreinterpretq_u32_f32(x);
  uint32x4_t odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
  uint32x4_t rounded = vaddq_u32(b, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  uint32x4_t quiet = vorrq_u32(b, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16);
}
BN_INLINE uint16x4_t to_bits(F16, float32x4_t x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }

template <class H>
BN_INLINE float32x4_t load1(const H* p) {
  return from_bits(H{}, vld1_u16(&p->bits));
}
template <class H>
BN_INLINE void store1(H* p, float32x4_t x) {
  vst1_u16(&p->bits, to_bits(H{}, x));
}

// The first n elements of a register, 0 < n < kLanes: no byte beyond them is touched.
BN_INLINE float32x4_t load_part(const float* p, int64_t n, float32x4_t rest) {
  rest = vld1q_lane_f32(p, rest, 0);
  if (n > 1) rest = vld1q_lane_f32(p + 1, rest, 1);
  if (n > 2) rest = vld1q_lane_f32(p + 2, rest, 2);
  return rest;
}
BN_INLINE float64x2_t load_part(const double* p, int64_t, float64x2_t rest) {
  return vld1q_lane_f64(p, rest, 0);
}
template <class H>
BN_INLINE float32x4_t load_part(const H* p, int64_t n, float32x4_t rest) {
  uint16x4_t h = vld1_lane_u16(&p->bits, vdup_n_u16(0), 0);
  if (n > 1) h = vld1_lane_u16(&p[1].bits, h, 1);
  if (n > 2) h = vld1_lane_u16(&p[2].bits, h, 2);
  alignas(16) static const int32_t kLane[4] = {0, 1, 2, 3};
  uint32x4_t within = vcltq_s32(vld1q_s32(kLane), vdupq_n_s32((int32_t)n));
  return vbslq_f32(within, from_bits(H{}, h), rest);
}
BN_INLINE void store_part(float* p, int64_t n, float32x4_t x) {
  vst1q_lane_f32(p, x, 0);
  if (n > 1) vst1q_lane_f32(p + 1, x, 1);
  if (n > 2) vst1q_lane_f32(p + 2, x, 2);
}
BN_INLINE void store_part(double* p, int64_t, float64x2_t x) { vst1q_lane_f64(p, x, 0); }
template <class H>
BN_INLINE void store_part(H* p, int64_t n, float32x4_t x) {
  uint16x4_t h = to_bits(H{}, x);
  vst1_lane_u16(&p->bits, h, 0);
  if (n > 1) vst1_lane_u16(&p[1].bits, h, 1);
  if (n > 2) vst1_lane_u16(&p[2].bits, h, 2);
}

// Intrinsics have no non-temporal store. It is ordered as any other, so fence has nothing to do.
template <class T>
BN_INLINE void stream_pair(void* p, T x, T y) {
  __asm__("stnp %q1, %q2, [%3]" : "=m"(*(char(*)[32])p) : "w"(x), "w"(y), "r"(p));
}

// ---- 16 lanes

#define BN_EACH(expression)                                     \
  Vec<E> r;                                                     \
  for (int i = 0; i < Vec<E>::kCount; i++) r.v[i] = expression; \
  return r;

template <class E>
BN_INLINE Vec<E> splat(E x) {
  BN_EACH(splat1(x))
}

template <class S>
BN_INLINE Vec<Element<S>> load(const S* p) {
  using E = Element<S>;
  BN_EACH(load1(p + i * Vec<E>::kLanes))
}
template <class S>
BN_INLINE Vec<Element<S>> load(const S* p, int64_t n, Vec<Element<S>> rest) {
  constexpr int kLanes = Vec<Element<S>>::kLanes;
  for (int i = 0; i < Vec<Element<S>>::kCount; i++) {
    int64_t left = n - i * kLanes;
    if (left >= kLanes) {
      rest.v[i] = load1(p + i * kLanes);
    } else if (left > 0) {
      rest.v[i] = load_part(p + i * kLanes, left, rest.v[i]);
    }
  }
  return rest;
}
template <class S>
BN_INLINE void store(S* p, Vec<Element<S>> x) {
  constexpr int kLanes = Vec<Element<S>>::kLanes;
  for (int i = 0; i < Vec<Element<S>>::kCount; i++) store1(p + i * kLanes, x.v[i]);
}
template <class S>
BN_INLINE void store(S* p, int64_t n, Vec<Element<S>> x) {
  constexpr int kLanes = Vec<Element<S>>::kLanes;
  for (int i = 0; i < Vec<Element<S>>::kCount; i++) {
    int64_t left = n - i * kLanes;
    if (left >= kLanes) {
      store1(p + i * kLanes, x.v[i]);
    } else if (left > 0) {
      store_part(p + i * kLanes, left, x.v[i]);
    }
  }
}
template <class E>
BN_INLINE Vec<E> head(int64_t n, Vec<E> x, Vec<E> rest) {
  E lanes[16];
  store(lanes, x);
  return load(lanes, n, rest);
}
template <class S>
BN_INLINE void stream(S* p, Vec<Element<S>> x) {
  if constexpr (sizeof(S) == 2) {
    stream_pair(p, vcombine_u16(to_bits(S{}, x.v[0]), to_bits(S{}, x.v[1])),
                vcombine_u16(to_bits(S{}, x.v[2]), to_bits(S{}, x.v[3])));
  } else {
    constexpr int kLanes = Vec<Element<S>>::kLanes;
    for (int i = 0; i < Vec<Element<S>>::kCount; i += 2) {
      stream_pair(p + i * kLanes, x.v[i], x.v[i + 1]);
    }
  }
}
BN_INLINE void fence() {}
BN_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

// Whether code is to be small rather than fast: no second way where one does.
constexpr bool kSmall = false;

// Bytes of all vector registers.
constexpr int64_t kRegisters = 512;

template <class E>
BN_INLINE Vec<E> operator+(Vec<E> x, Vec<E> y) {
  BN_EACH(x.v[i] + y.v[i])
}
template <class E>
BN_INLINE Vec<E> operator-(Vec<E> x, Vec<E> y) {
  BN_EACH(x.v[i] - y.v[i])
}
template <class E>
BN_INLINE Vec<E> operator*(Vec<E> x, Vec<E> y) {
  BN_EACH(x.v[i] * y.v[i])
}
template <class E>
BN_INLINE Vec<E> operator/(Vec<E> x, Vec<E> y) {
  BN_EACH(x.v[i] / y.v[i])
}
template <class E>
BN_INLINE Vec<E> root(Vec<E> x) {
  BN_EACH(root1(x.v[i]))
}
template <class E>
BN_INLINE Vec<E> fma(Vec<E> x, Vec<E> y, Vec<E> z) {
  BN_EACH(fma1(x.v[i], y.v[i], z.v[i]))
}
template <class E>
BN_INLINE Vec<E> fnma(Vec<E> x, Vec<E> y, Vec<E> z) {
  BN_EACH(fnma1(x.v[i], y.v[i], z.v[i]))
}
template <class E>
BN_INLINE Vec<E> if_negative(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  BN_EACH(choose1(negative1(x.v[i]), then.v[i], otherwise.v[i]))
}
template <class E>
BN_INLINE Vec<E> if_not_positive(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  BN_EACH(choose1(not_positive1(x.v[i]), then.v[i], otherwise.v[i]))
}
// Not fmax: that makes +0 of -0.
template <class E>
BN_INLINE Vec<E> clamp0(Vec<E> x) {
  return if_negative(x, splat(E(0)), x);
}
#undef BN_EACH

BN_INLINE bool all_within(Vec<float> x, float low, float high) {
  uint32x4_t all = vdupq_n_u32(~0u);
  for (int i = 0; i < 4; i++) {
    uint32x4_t l = vcgeq_f32(x.v[i], vdupq_n_f32(low));
    uint32x4_t h = vcleq_f32(x.v[i], vdupq_n_f32(high));
    all = vandq_u32(all, vandq_u32(l, h));
  }
  return vminvq_u32(all) != 0;
}

BN_INLINE float fold(Vec<float> x) {
  float32x4_t q = (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]);
  float32x2_t d = vget_low_f32(q) + vget_high_f32(q);
  return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
BN_INLINE double fold(Vec<double> x) {
  float64x2_t q = (x.v[0] + x.v[4]) + (x.v[2] + x.v[6]);
  float64x2_t r = (x.v[1] + x.v[5]) + (x.v[3] + x.v[7]);
  float64x2_t d = q + r;
  return vgetq_lane_f64(d, 0) + vgetq_lane_f64(d, 1);
}

BN_INLINE Vec<double> widen(Vec<float> x) {
  Vec<double> r;
  for (int i = 0; i < 4; i++) {
    r.v[2 * i] = vcvt_f64_f32(vget_low_f32(x.v[i]));
    r.v[2 * i + 1] = vcvt_high_f64_f32(x.v[i]);
  }
  return r;
}
BN_INLINE Vec<double> widen(Vec<double> x) { return x; }
BN_INLINE void narrow(Vec<double> x, Vec<float>* out) {
  for (int i = 0; i < 4; i++) {
    out->v[i] = vcvt_high_f32_f64(vcvt_f32_f64(x.v[2 * i]), x.v[2 * i + 1]);
  }
}
BN_INLINE void narrow(Vec<double> x, Vec<double>* out) { *out = x; }

}  // namespace bn::neon
