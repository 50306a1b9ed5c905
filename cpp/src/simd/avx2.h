// The vector vocabulary on AVX2, FMA and F16C: 16 lanes of float or double.
// scalar.h says what each word means.
#pragma once
#include <immintrin.h>

#include "../element.h"

namespace bn::avx2 {

template <class E>
struct Vec;
template <>
struct Vec<float> {
  __m256 a, b;
};
template <>
struct Vec<double> {
  __m256d a, b, c, d;
};

// 16 ones, then 16 zeros: a window at 16 - n masks the first n lanes.
alignas(64) static const int32_t kMask[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                              -1, -1, -1, -1, -1, -1, -1, -1};
BN_INLINE __m256i mask8(int64_t n, int lane) {
  return _mm256_loadu_si256((const __m256i*)(kMask + 16 - n + lane));
}
BN_INLINE __m256i mask4(int64_t n, int lane) {
  return _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i*)(kMask + 16 - n + lane)));
}

// ---- float

#define BN_BOTH(f, y) \
  { f(x.a, y.a), f(x.b, y.b) }

BN_INLINE Vec<float> splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
BN_INLINE Vec<float> load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BN_INLINE Vec<float> load(const float* p, int64_t n, Vec<float> rest) {
  __m256i m = mask8(n, 0), k = mask8(n, 8);
  return {_mm256_blendv_ps(rest.a, _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m)),
          _mm256_blendv_ps(rest.b, _mm256_maskload_ps(p + 8, k), _mm256_castsi256_ps(k))};
}
BN_INLINE void store(float* p, Vec<float> x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
// By halves: AMD's CPUs take some 20 cycles for a masked store (docs/performance.md, lesson 36).
BN_INLINE void store(float* p, int64_t n, Vec<float> x) {
  __m256 x8 = x.a;
  if (n & 8) {
    _mm256_storeu_ps(p, x8);
    x8 = x.b;
    p += 8;
  }
  __m128 x4 = _mm256_castps256_ps128(x8);
  if (n & 4) {
    _mm_storeu_ps(p, x4);
    x4 = _mm256_extractf128_ps(x8, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi((__m64*)p, x4);
    x4 = _mm_movehl_ps(x4, x4);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, x4);
}
BN_INLINE void stream(float* p, Vec<float> x) {
  _mm256_stream_ps(p, x.a);
  _mm256_stream_ps(p + 8, x.b);
}

BN_INLINE Vec<float> head(int64_t n, Vec<float> x, Vec<float> rest) {
  return {_mm256_blendv_ps(rest.a, x.a, _mm256_castsi256_ps(mask8(n, 0))),
          _mm256_blendv_ps(rest.b, x.b, _mm256_castsi256_ps(mask8(n, 8)))};
}

BN_INLINE Vec<float> operator+(Vec<float> x, Vec<float> y) { return BN_BOTH(_mm256_add_ps, y); }
BN_INLINE Vec<float> operator-(Vec<float> x, Vec<float> y) { return BN_BOTH(_mm256_sub_ps, y); }
BN_INLINE Vec<float> operator*(Vec<float> x, Vec<float> y) { return BN_BOTH(_mm256_mul_ps, y); }
BN_INLINE Vec<float> operator/(Vec<float> x, Vec<float> y) { return BN_BOTH(_mm256_div_ps, y); }
#undef BN_BOTH
BN_INLINE Vec<float> root(Vec<float> x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
BN_INLINE Vec<float> fma(Vec<float> x, Vec<float> y, Vec<float> z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
BN_INLINE Vec<float> fnma(Vec<float> x, Vec<float> y, Vec<float> z) {
  return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
// maxps returns its second operand when one is NaN or both are zero.
BN_INLINE Vec<float> clamp0(Vec<float> x) {
  __m256 zero = _mm256_setzero_ps();
  return {_mm256_max_ps(zero, x.a), _mm256_max_ps(zero, x.b)};
}
template <int compare>
BN_INLINE Vec<float> choose(Vec<float> x, Vec<float> then, Vec<float> otherwise) {
  __m256 zero = _mm256_setzero_ps();
  return {_mm256_blendv_ps(otherwise.a, then.a, _mm256_cmp_ps(x.a, zero, compare)),
          _mm256_blendv_ps(otherwise.b, then.b, _mm256_cmp_ps(x.b, zero, compare))};
}
BN_INLINE bool all_within(Vec<float> x, float low, float high) {
  __m256 l = _mm256_set1_ps(low), h = _mm256_set1_ps(high);
  __m256 a = _mm256_and_ps(_mm256_cmp_ps(x.a, l, _CMP_GE_OQ), _mm256_cmp_ps(x.a, h, _CMP_LE_OQ));
  __m256 b = _mm256_and_ps(_mm256_cmp_ps(x.b, l, _CMP_GE_OQ), _mm256_cmp_ps(x.b, h, _CMP_LE_OQ));
  return _mm256_movemask_ps(_mm256_and_ps(a, b)) == 0xff;
}
BN_INLINE float fold(Vec<float> x) {
  __m256 e = _mm256_add_ps(x.a, x.b);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
// The same for eight rows: lanes 8, 4, 2 and 1 apart are added, as in fold, while the sums of two
// rows, of four and of eight move into one register.
BN_INLINE __m256 fold_eight(const float* rows) {
  __m256 r[8];
  for (int i = 0; i < 8; i++) {
    r[i] = _mm256_add_ps(_mm256_loadu_ps(rows + 16 * i), _mm256_loadu_ps(rows + 16 * i + 8));
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_add_ps(_mm256_permute2f128_ps(r[i], r[i + 4], 0x20),
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
  for (int i = 0; i < 2; i++) {
    r[i] = _mm256_add_ps(_mm256_shuffle_ps(r[2 * i], r[2 * i + 1], 0x44),
                         _mm256_shuffle_ps(r[2 * i], r[2 * i + 1], 0xee));
  }
  return _mm256_add_ps(_mm256_shuffle_ps(r[0], r[1], 0x88), _mm256_shuffle_ps(r[0], r[1], 0xdd));
}
BN_INLINE Vec<float> fold_rows(const float* rows) {
  return {fold_eight(rows), fold_eight(rows + 128)};
}

// ---- double

#define BN_FOUR(f, y) \
  { f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d) }

BN_INLINE Vec<double> splat(double x) {
  __m256d v = _mm256_set1_pd(x);
  return {v, v, v, v};
}
BN_INLINE Vec<double> load(const double* p) {
  return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8),
          _mm256_loadu_pd(p + 12)};
}
BN_INLINE __m256d load4(const double* p, __m256i m, __m256d rest) {
  return _mm256_blendv_pd(rest, _mm256_maskload_pd(p, m), _mm256_castsi256_pd(m));
}
BN_INLINE Vec<double> load(const double* p, int64_t n, Vec<double> rest) {
  return {load4(p, mask4(n, 0), rest.a), load4(p + 4, mask4(n, 4), rest.b),
          load4(p + 8, mask4(n, 8), rest.c), load4(p + 12, mask4(n, 12), rest.d)};
}
BN_INLINE void store(double* p, Vec<double> x) {
  _mm256_storeu_pd(p, x.a);
  _mm256_storeu_pd(p + 4, x.b);
  _mm256_storeu_pd(p + 8, x.c);
  _mm256_storeu_pd(p + 12, x.d);
}
BN_INLINE void store(double* p, int64_t n, Vec<double> x) {
  __m256d x8[2] = {x.a, x.b};
  if (n & 8) {
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
    x8[0] = x.c;
    x8[1] = x.d;
    p += 8;
  }
  __m256d x4 = x8[0];
  if (n & 4) {
    _mm256_storeu_pd(p, x4);
    x4 = x8[1];
    p += 4;
  }
  __m128d x2 = _mm256_castpd256_pd128(x4);
  if (n & 2) {
    _mm_storeu_pd(p, x2);
    x2 = _mm256_extractf128_pd(x4, 1);
    p += 2;
  }
  if (n & 1) _mm_store_sd(p, x2);
}
BN_INLINE void stream(double* p, Vec<double> x) {
  _mm256_stream_pd(p, x.a);
  _mm256_stream_pd(p + 4, x.b);
  _mm256_stream_pd(p + 8, x.c);
  _mm256_stream_pd(p + 12, x.d);
}

BN_INLINE Vec<double> head(int64_t n, Vec<double> x, Vec<double> rest) {
  return {_mm256_blendv_pd(rest.a, x.a, _mm256_castsi256_pd(mask4(n, 0))),
          _mm256_blendv_pd(rest.b, x.b, _mm256_castsi256_pd(mask4(n, 4))),
          _mm256_blendv_pd(rest.c, x.c, _mm256_castsi256_pd(mask4(n, 8))),
          _mm256_blendv_pd(rest.d, x.d, _mm256_castsi256_pd(mask4(n, 12)))};
}

BN_INLINE Vec<double> operator+(Vec<double> x, Vec<double> y) { return BN_FOUR(_mm256_add_pd, y); }
BN_INLINE Vec<double> operator-(Vec<double> x, Vec<double> y) { return BN_FOUR(_mm256_sub_pd, y); }
BN_INLINE Vec<double> operator*(Vec<double> x, Vec<double> y) { return BN_FOUR(_mm256_mul_pd, y); }
BN_INLINE Vec<double> operator/(Vec<double> x, Vec<double> y) { return BN_FOUR(_mm256_div_pd, y); }
#undef BN_FOUR
BN_INLINE Vec<double> root(Vec<double> x) {
  return {_mm256_sqrt_pd(x.a), _mm256_sqrt_pd(x.b), _mm256_sqrt_pd(x.c), _mm256_sqrt_pd(x.d)};
}
BN_INLINE Vec<double> fma(Vec<double> x, Vec<double> y, Vec<double> z) {
  return {_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b),
          _mm256_fmadd_pd(x.c, y.c, z.c), _mm256_fmadd_pd(x.d, y.d, z.d)};
}
BN_INLINE Vec<double> fnma(Vec<double> x, Vec<double> y, Vec<double> z) {
  return {_mm256_fnmadd_pd(x.a, y.a, z.a), _mm256_fnmadd_pd(x.b, y.b, z.b),
          _mm256_fnmadd_pd(x.c, y.c, z.c), _mm256_fnmadd_pd(x.d, y.d, z.d)};
}
BN_INLINE Vec<double> clamp0(Vec<double> x) {
  __m256d zero = _mm256_setzero_pd();
  return {_mm256_max_pd(zero, x.a), _mm256_max_pd(zero, x.b), _mm256_max_pd(zero, x.c),
          _mm256_max_pd(zero, x.d)};
}
template <int compare>
BN_INLINE Vec<double> choose(Vec<double> x, Vec<double> then, Vec<double> otherwise) {
  __m256d zero = _mm256_setzero_pd();
  return {_mm256_blendv_pd(otherwise.a, then.a, _mm256_cmp_pd(x.a, zero, compare)),
          _mm256_blendv_pd(otherwise.b, then.b, _mm256_cmp_pd(x.b, zero, compare)),
          _mm256_blendv_pd(otherwise.c, then.c, _mm256_cmp_pd(x.c, zero, compare)),
          _mm256_blendv_pd(otherwise.d, then.d, _mm256_cmp_pd(x.d, zero, compare))};
}
BN_INLINE double fold(Vec<double> x) {
  __m256d q = _mm256_add_pd(_mm256_add_pd(x.a, x.c), _mm256_add_pd(x.b, x.d));
  __m128d d = _mm_add_pd(_mm256_castpd256_pd128(q), _mm256_extractf128_pd(q, 1));
  return _mm_cvtsd_f64(_mm_add_sd(d, _mm_unpackhi_pd(d, d)));
}
// The same for four rows.
BN_INLINE __m256d fold_four(const double* rows) {
  __m256d r[4];
  for (int i = 0; i < 4; i++) {
    Vec<double> x = load(rows + 16 * i);
    r[i] = _mm256_add_pd(_mm256_add_pd(x.a, x.c), _mm256_add_pd(x.b, x.d));
  }
  for (int i = 0; i < 2; i++) {
    r[i] = _mm256_add_pd(_mm256_permute2f128_pd(r[i], r[i + 2], 0x20),
                         _mm256_permute2f128_pd(r[i], r[i + 2], 0x31));
  }
  return _mm256_add_pd(_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
}
BN_INLINE Vec<double> fold_rows(const double* rows) {
  return {fold_four(rows), fold_four(rows + 64), fold_four(rows + 128), fold_four(rows + 192)};
}

// ---- between the two, and 16-bit storage

template <class E>
BN_INLINE Vec<E> if_negative(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  return choose<_CMP_LT_OQ>(x, then, otherwise);
}
template <class E>
BN_INLINE Vec<E> if_not_positive(Vec<E> x, Vec<E> then, Vec<E> otherwise) {
  return choose<_CMP_LE_OQ>(x, then, otherwise);
}

BN_INLINE Vec<double> widen(Vec<float> x) {
  return {
      _mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
      _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
}
BN_INLINE Vec<double> widen(Vec<double> x) { return x; }
BN_INLINE void narrow(Vec<double> x, Vec<float>* out) {
  out->a = _mm256_set_m128(_mm256_cvtpd_ps(x.b), _mm256_cvtpd_ps(x.a));
  out->b = _mm256_set_m128(_mm256_cvtpd_ps(x.d), _mm256_cvtpd_ps(x.c));
}
BN_INLINE void narrow(Vec<double> x, Vec<double>* out) { *out = x; }

BN_INLINE __m256 from_bits(Bf16, __m128i h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
BN_INLINE __m256 from_bits(F16, __m128i h) { return _mm256_cvtph_ps(h); }
BN_INLINE __m128i to_bits(Bf16, __m256 x) {
  __m256i b = _mm256_castps_si256(x);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  __m256i quiet = _mm256_or_si256(b, _mm256_set1_epi32(0x400000));
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  __m256i h = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  h = _mm256_permute4x64_epi64(_mm256_packus_epi32(h, h), 0x08);
  return _mm256_castsi256_si128(h);
}
BN_INLINE __m128i to_bits(F16, __m256 x) {
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

template <class H>
BN_INLINE Vec<float> load(const H* p) {
  return {from_bits(H{}, _mm_loadu_si128((const __m128i*)p)),
          from_bits(H{}, _mm_loadu_si128((const __m128i*)(p + 8)))};
}
template <class H>
BN_INLINE void store(H* p, Vec<float> x) {
  _mm_storeu_si128((__m128i*)p, to_bits(H{}, x.a));
  _mm_storeu_si128((__m128i*)(p + 8), to_bits(H{}, x.b));
}
// AVX2 has no masked access to 16-bit elements: by halves.
BN_INLINE uint64_t bits64(const void* p) {
  uint64_t x;
  __builtin_memcpy(&x, p, 8);
  return x;
}
template <class H>
BN_INLINE __m128i load8(const H* p, int64_t n) {
  uint64_t low = 0, high = 0;
  if (n & 4) {
    low = bits64(p);
    // The last four, without those that are of the first. In two steps, as it may be all 64 bits.
    int half = 8 * (int)(4 - (n & 3));
    high = bits64(p + (n & 3)) >> half >> half;
  } else if (n & 2) {
    uint32_t two, last;
    __builtin_memcpy(&two, p, 4);
    __builtin_memcpy(&last, p + (n & 1), 4);
    low = (uint64_t)last << 16 * (n & 1) | two;
  } else if (n & 1) {
    uint16_t one;
    __builtin_memcpy(&one, p, 2);
    low = one;
  }
  return _mm_set_epi64x((int64_t)high, (int64_t)low);
}
template <class H>
BN_INLINE Vec<float> load(const H* p, int64_t n, Vec<float> rest) {
  Vec<float> x = rest;
  if (n & 8) {
    x.a = from_bits(H{}, _mm_loadu_si128((const __m128i*)p));
    x.b = from_bits(H{}, load8(p + 8, n));
  } else {
    x.a = from_bits(H{}, load8(p, n));
  }
  return head(n, x, rest);
}
template <class H>
BN_INLINE void store(H* p, int64_t n, Vec<float> x) {
  __m128i x8 = to_bits(H{}, x.a);
  if (n & 8) {
    _mm_storeu_si128((__m128i*)p, x8);
    x8 = to_bits(H{}, x.b);
    p += 8;
  }
  uint64_t x4 = (uint64_t)_mm_cvtsi128_si64(x8);
  if (n & 4) {
    __builtin_memcpy(p, &x4, 8);
    x4 = (uint64_t)_mm_extract_epi64(x8, 1);
    p += 4;
  }
  if (n & 2) {
    __builtin_memcpy(p, &x4, 4);
    x4 >>= 32;
    p += 2;
  }
  if (n & 1) __builtin_memcpy(p, &x4, 2);
}
template <class H>
BN_INLINE void stream(H* p, Vec<float> x) {
  _mm_stream_si128((__m128i*)p, to_bits(H{}, x.a));
  _mm_stream_si128((__m128i*)(p + 8), to_bits(H{}, x.b));
}

BN_INLINE void fence() { _mm_sfence(); }
BN_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// Whether code is to be small rather than fast: no second way where one does.
constexpr bool kSmall = false;

// Bytes of all vector registers.
constexpr int64_t kRegisters = 512;

}  // namespace bn::avx2
