// The vector vocabulary in plain C++: 16 lanes of float or double. The other headers say the same
// words in intrinsics; what a word means is written here.
#pragma once
#include "../element.h"

namespace bn::scalar {

template <class E>
struct Vec {
  E v[16];
};

// All lanes x.
template <class E>
static inline Vec<E> splat(E x) {
  Vec<E> r;
  for (int i = 0; i < 16; i++) r.v[i] = x;
  return r;
}

static inline float value(float x) { return x; }
static inline double value(double x) { return x; }
static inline float from_word(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
static inline uint32_t to_word(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
static inline float value(Bf16 x) { return from_word((uint32_t)x.bits << 16); }
static inline float value(F16 x) {
  uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16;
  uint32_t exponent = x.bits >> 10 & 0x1f, fraction = x.bits & 0x3ff;
  if (exponent == 0) return from_word(to_word((float)fraction * 0x1p-24f) | sign);
  if (exponent == 0x1f) {
    return from_word(sign | 0x7f800000 | fraction << 13 | (fraction == 0 ? 0 : 0x400000));
  }
  return from_word(sign | (exponent + 112) << 23 | fraction << 13);
}
// x as it is stored.
static inline float stored(float, float x) { return x; }
static inline double stored(double, double x) { return x; }
static inline Bf16 stored(Bf16, float x) {
  uint32_t b = to_word(x);
  return {(uint16_t)(x != x ? b >> 16 | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16)};
}
static inline F16 stored(F16, float x) {
  uint32_t b = to_word(x), sign = b >> 16 & 0x8000, magnitude = b & 0x7fffffff, h;
  if (magnitude > 0x7f800000) {
    h = 0x7e00 | (magnitude >> 13 & 0x3ff);
  } else if (magnitude >= 0x477ff000) {
    h = 0x7c00;
  } else if (magnitude < 0x38800000) {
    // Below the smallest normal: adding 0.5 puts the rounded multiple of 2^-24 in the low bits.
    h = to_word(from_word(magnitude) + 0.5f) - 0x3f000000;
  } else {
    h = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return {(uint16_t)(sign | h)};
}
template <class S>
static inline void put(S* p, Element<S> x) {
  const S element = stored(S{}, x);
  __builtin_memcpy(p, &element, sizeof element);
}

// 16 elements; the first n, the other lanes as in rest. n is less than 16 where S is narrower, and
// in every store.
template <class S>
static inline Vec<Element<S>> load(const S* p) {
  Vec<Element<S>> r;
  for (int i = 0; i < 16; i++) r.v[i] = value(unaligned(p + i));
  return r;
}
template <class S>
static inline Vec<Element<S>> load(const S* p, int64_t n, Vec<Element<S>> rest) {
  for (int64_t i = 0; i < n; i++) rest.v[i] = value(unaligned(p + i));
  return rest;
}
// The first n lanes of x, the other lanes as in rest.
template <class E>
static inline Vec<E> head(int64_t n, Vec<E> x, Vec<E> rest) {
  return load(x.v, n, rest);
}
// Rounds to nearest even where S is narrower; stream bypasses the caches and needs p aligned to 16
// elements, fence orders what was streamed.
template <class S>
static inline void store(S* p, Vec<Element<S>> x) {
  for (int i = 0; i < 16; i++) put(p + i, x.v[i]);
}
template <class S>
static inline void store(S* p, int64_t n, Vec<Element<S>> x) {
  for (int64_t i = 0; i < n; i++) put(p + i, x.v[i]);
}
template <class S>
static inline void stream(S* p, Vec<Element<S>> x) {
  store(p, x);
}
static inline void fence() {}
static inline void prefetch(const void*) {}

// Whether code is to be small rather than fast: no second way where one does.
constexpr bool kSmall = true;

// Bytes of all vector registers; 0: none.
constexpr int64_t kRegisters = 0;

#define BN_LANES(expression)                        \
  Vec<E> r;                                         \
  for (int i = 0; i < 16; i++) r.v[i] = expression; \
  return r

template <class E>
static inline Vec<E> operator+(Vec<E> x, Vec<E> y) {
  BN_LANES(x.v[i] + y.v[i]);
}
template <class E>
static inline Vec<E> operator-(Vec<E> x, Vec<E> y) {
  BN_LANES(x.v[i] - y.v[i]);
}
template <class E>
static inline Vec<E> operator*(Vec<E> x, Vec<E> y) {
  BN_LANES(x.v[i] * y.v[i]);
}
template <class E>
static inline Vec<E> operator/(Vec<E> x, Vec<E> y) {
  BN_LANES(x.v[i] / y.v[i]);
}
static inline float root1(float x) { return __builtin_sqrtf(x); }
static inline double root1(double x) { return __builtin_sqrt(x); }
template <class E>
static inline Vec<E> root(Vec<E> x) {
  BN_LANES(root1(x.v[i]));
}
// x * y + z and z - x * y, rounded once.
template <class E>
static inline Vec<E> fma(Vec<E> x, Vec<E> y, Vec<E> z) {
  BN_LANES(bn::fma(x.v[i], y.v[i], z.v[i]));
}
template <class E>
static inline Vec<E> fnma(Vec<E> x, Vec<E> y, Vec<E> z) {
  BN_LANES(bn::fma(-x.v[i], y.v[i], z.v[i]));
}
// x < 0 ? 0 : x, so NaN stays NaN.
template <class E>
static inline Vec<E> clamp0(Vec<E> x) {
  BN_LANES(x.v[i] < 0 ? 0 : x.v[i]);
}
template <class E>
static inline Vec<E> if_negative(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  BN_LANES(x.v[i] < 0 ? then.v[i] : otherwise.v[i]);
}
template <class E>
static inline Vec<E> if_not_positive(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  BN_LANES(x.v[i] <= 0 ? then.v[i] : otherwise.v[i]);
}
// low <= x <= high in every lane; false if one is NaN.
static inline bool all_within(Vec<float> x, float low, float high) {
  bool all = true;
  for (int i = 0; i < 16; i++) all &= x.v[i] >= low && x.v[i] <= high;
  return all;
}
// The sum of the lanes in the order of docs/numerics.md.
template <class E>
static inline E fold(Vec<E> x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) x.v[i] = x.v[i] + x.v[i + half];
  }
  return x.v[0];
}

static inline Vec<double> widen(Vec<float> x) {
  Vec<double> r;
  for (int i = 0; i < 16; i++) r.v[i] = x.v[i];
  return r;
}
static inline Vec<double> widen(Vec<double> x) { return x; }
template <class E>
static inline void narrow(Vec<double> x, Vec<E>* out) {
  for (int i = 0; i < 16; i++) out->v[i] = (E)x.v[i];
}
#undef BN_LANES

}  // namespace bn::scalar
