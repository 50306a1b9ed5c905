// The vector vocabulary on AVX-512 (F, BW, DQ, VL): 16 lanes of float or double.
// scalar.h says what each word means.
#pragma once
#include <immintrin.h>

#include "../element.h"

namespace bn::avx512 {

template <class E>
struct Vec;
template <>
struct Vec<float> {
  __m512 v;
};
template <>
struct Vec<double> {
  __m512d a, b;
};

BN_INLINE __mmask16 first(int64_t n) { return (__mmask16)((1u << n) - 1); }

// ---- float

BN_INLINE Vec<float> splat(float x) { return {_mm512_set1_ps(x)}; }
BN_INLINE Vec<float> load(const float* p) { return {_mm512_loadu_ps(p)}; }
BN_INLINE Vec<float> load(const float* p, int64_t n, Vec<float> rest) {
  return {_mm512_mask_loadu_ps(rest.v, first(n), p)};
}
BN_INLINE void store(float* p, Vec<float> x) { _mm512_storeu_ps(p, x.v); }
BN_INLINE void store(float* p, int64_t n, Vec<float> x) { _mm512_mask_storeu_ps(p, first(n), x.v); }
BN_INLINE void stream(float* p, Vec<float> x) { _mm512_stream_ps(p, x.v); }

BN_INLINE Vec<float> head(int64_t n, Vec<float> x, Vec<float> rest) {
  return {_mm512_mask_mov_ps(rest.v, first(n), x.v)};
}

BN_INLINE Vec<float> operator+(Vec<float> x, Vec<float> y) { return {_mm512_add_ps(x.v, y.v)}; }
BN_INLINE Vec<float> operator-(Vec<float> x, Vec<float> y) { return {_mm512_sub_ps(x.v, y.v)}; }
BN_INLINE Vec<float> operator*(Vec<float> x, Vec<float> y) { return {_mm512_mul_ps(x.v, y.v)}; }
BN_INLINE Vec<float> operator/(Vec<float> x, Vec<float> y) { return {_mm512_div_ps(x.v, y.v)}; }
BN_INLINE Vec<float> root(Vec<float> x) { return {_mm512_sqrt_ps(x.v)}; }
BN_INLINE Vec<float> fma(Vec<float> x, Vec<float> y, Vec<float> z) {
  return {_mm512_fmadd_ps(x.v, y.v, z.v)};
}
BN_INLINE Vec<float> fnma(Vec<float> x, Vec<float> y, Vec<float> z) {
  return {_mm512_fnmadd_ps(x.v, y.v, z.v)};
}
// maxps returns its second operand when one is NaN or both are zero.
BN_INLINE Vec<float> clamp0(Vec<float> x) { return {_mm512_max_ps(_mm512_setzero_ps(), x.v)}; }
BN_INLINE Vec<float> if_negative(Vec<float> x, Vec<float> then, Vec<float> otherwise) {
  return {_mm512_mask_mov_ps(otherwise.v, _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_LT_OQ),
                             then.v)};
}
BN_INLINE Vec<float> if_not_positive(Vec<float> x, Vec<float> then, Vec<float> otherwise) {
  return {_mm512_mask_mov_ps(otherwise.v, _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_LE_OQ),
                             then.v)};
}
BN_INLINE bool all_within(Vec<float> x, float low, float high) {
  return (_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(low), _CMP_GE_OQ) &
          _mm512_cmp_ps_mask(x.v, _mm512_set1_ps(high), _CMP_LE_OQ)) == 0xffff;
}
// Four vectors side by side, without the divider, for which they would wait in turn: the root s and
// 1 / s from an estimate by fused multiply-adds (Markstein, "Computation of elementary functions on
// the IBM RISC System/6000 processor", 1990). A Newton step brings g, h and y within an ulp or so
// of sqrt(x), 1 / (2 * sqrt(x)) and 1 / sqrt(x). Then g + (x - g * g) * h rounds to s, and, e being
// 1 - s * y, y + y * (e + e * e) to 1 / s; e + e * e is rounded up for the sake of s = 2 - 2^-23,
// where Markstein's steps fail.
// Both are the correctly rounded ones: tried for x in [1, 4) with every estimate within 2^-14 of
// 1 / sqrt(x), which is all that CPUs promise. Powers of 4 change no bit while x - g * g, about
// x * 2^-24 and with 24 bits, is normal.
// One vector alone would wait longer for this than for the divider.
static constexpr int roots_at_once(float) { return 4; }
BN_INLINE void inv_roots(Vec<float> (&x)[4]) {
  bool usual = true;
  for (int i = 0; i < 4; i++) usual &= all_within(x[i], 0x1p-64f, 0x1.fffffep127f);
  if (!usual) {
    for (int i = 0; i < 4; i++) x[i] = splat(1.0f) / root(x[i]);
    return;
  }
  // Step by step: one vector after the other won nothing (docs/performance.md, lesson 17).
  const Vec<float> half = splat(0.5f), one = splat(1.0f);
  Vec<float> y[4], g[4], h[4], r[4];
  for (int i = 0; i < 4; i++) y[i] = {_mm512_rsqrt14_ps(x[i].v)};
  for (int i = 0; i < 4; i++) g[i] = x[i] * y[i];
  for (int i = 0; i < 4; i++) h[i] = half * y[i];
  for (int i = 0; i < 4; i++) r[i] = fnma(g[i], h[i], half);
  for (int i = 0; i < 4; i++) g[i] = fma(g[i], r[i], g[i]);
  for (int i = 0; i < 4; i++) h[i] = fma(h[i], r[i], h[i]);
  for (int i = 0; i < 4; i++) y[i] = fma(y[i], r[i], y[i]);
  for (int i = 0; i < 4; i++) r[i] = fnma(g[i], g[i], x[i]);
  for (int i = 0; i < 4; i++) g[i] = fma(r[i], h[i], g[i]);
  for (int i = 0; i < 4; i++) r[i] = fnma(g[i], y[i], one);
  for (int i = 0; i < 4; i++) {
    r[i] = {
        _mm512_fmadd_round_ps(r[i].v, r[i].v, r[i].v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
  }
  for (int i = 0; i < 4; i++) x[i] = fma(r[i], y[i], y[i]);
}
BN_INLINE float fold(Vec<float> x) {
  __m256 e = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
// All rows at once: lanes 8, 4, 2 and 1 apart are added, as in fold, while the sums of two rows, of
// four, eight and sixteen move into one register.
BN_INLINE Vec<float> fold_rows(const float* rows) {
  __m512 r[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(rows + 16 * i);
  for (int i = 0; i < 8; i++) {
    r[i] = _mm512_add_ps(_mm512_shuffle_f32x4(r[2 * i], r[2 * i + 1], 0x44),
                         _mm512_shuffle_f32x4(r[2 * i], r[2 * i + 1], 0xee));
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_add_ps(_mm512_shuffle_f32x4(r[2 * i], r[2 * i + 1], 0x88),
                         _mm512_shuffle_f32x4(r[2 * i], r[2 * i + 1], 0xdd));
  }
  for (int i = 0; i < 2; i++) {
    r[i] = _mm512_add_ps(_mm512_shuffle_ps(r[2 * i], r[2 * i + 1], 0x44),
                         _mm512_shuffle_ps(r[2 * i], r[2 * i + 1], 0xee));
  }
  r[0] = _mm512_add_ps(_mm512_shuffle_ps(r[0], r[1], 0x88), _mm512_shuffle_ps(r[0], r[1], 0xdd));
  // Row 4 * i + j is now in lane 4 * j + i.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  return {_mm512_permutexvar_ps(order, r[0])};
}

// ---- double

BN_INLINE Vec<double> splat(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
BN_INLINE Vec<double> load(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
BN_INLINE Vec<double> load(const double* p, int64_t n, Vec<double> rest) {
  __mmask16 m = first(n);
  return {_mm512_mask_loadu_pd(rest.a, (__mmask8)m, p),
          _mm512_mask_loadu_pd(rest.b, (__mmask8)(m >> 8), p + 8)};
}
BN_INLINE void store(double* p, Vec<double> x) {
  _mm512_storeu_pd(p, x.a);
  _mm512_storeu_pd(p + 8, x.b);
}
BN_INLINE void store(double* p, int64_t n, Vec<double> x) {
  __mmask16 m = first(n);
  _mm512_mask_storeu_pd(p, (__mmask8)m, x.a);
  _mm512_mask_storeu_pd(p + 8, (__mmask8)(m >> 8), x.b);
}
BN_INLINE void stream(double* p, Vec<double> x) {
  _mm512_stream_pd(p, x.a);
  _mm512_stream_pd(p + 8, x.b);
}

BN_INLINE Vec<double> head(int64_t n, Vec<double> x, Vec<double> rest) {
  __mmask16 m = first(n);
  return {_mm512_mask_mov_pd(rest.a, (__mmask8)m, x.a),
          _mm512_mask_mov_pd(rest.b, (__mmask8)(m >> 8), x.b)};
}

BN_INLINE Vec<double> operator+(Vec<double> x, Vec<double> y) {
  return {_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)};
}
BN_INLINE Vec<double> operator-(Vec<double> x, Vec<double> y) {
  return {_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)};
}
BN_INLINE Vec<double> operator*(Vec<double> x, Vec<double> y) {
  return {_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)};
}
BN_INLINE Vec<double> operator/(Vec<double> x, Vec<double> y) {
  return {_mm512_div_pd(x.a, y.a), _mm512_div_pd(x.b, y.b)};
}
BN_INLINE Vec<double> root(Vec<double> x) { return {_mm512_sqrt_pd(x.a), _mm512_sqrt_pd(x.b)}; }
BN_INLINE Vec<double> fma(Vec<double> x, Vec<double> y, Vec<double> z) {
  return {_mm512_fmadd_pd(x.a, y.a, z.a), _mm512_fmadd_pd(x.b, y.b, z.b)};
}
BN_INLINE Vec<double> fnma(Vec<double> x, Vec<double> y, Vec<double> z) {
  return {_mm512_fnmadd_pd(x.a, y.a, z.a), _mm512_fnmadd_pd(x.b, y.b, z.b)};
}
BN_INLINE Vec<double> clamp0(Vec<double> x) {
  __m512d zero = _mm512_setzero_pd();
  return {_mm512_max_pd(zero, x.a), _mm512_max_pd(zero, x.b)};
}
BN_INLINE Vec<double> if_negative(Vec<double> x, Vec<double> then, Vec<double> otherwise) {
  __m512d zero = _mm512_setzero_pd();
  return {_mm512_mask_mov_pd(otherwise.a, _mm512_cmp_pd_mask(x.a, zero, _CMP_LT_OQ), then.a),
          _mm512_mask_mov_pd(otherwise.b, _mm512_cmp_pd_mask(x.b, zero, _CMP_LT_OQ), then.b)};
}
BN_INLINE Vec<double> if_not_positive(Vec<double> x, Vec<double> then, Vec<double> otherwise) {
  __m512d zero = _mm512_setzero_pd();
  return {_mm512_mask_mov_pd(otherwise.a, _mm512_cmp_pd_mask(x.a, zero, _CMP_LE_OQ), then.a),
          _mm512_mask_mov_pd(otherwise.b, _mm512_cmp_pd_mask(x.b, zero, _CMP_LE_OQ), then.b)};
}
BN_INLINE double fold(Vec<double> x) {
  __m512d e = _mm512_add_pd(x.a, x.b);
  __m256d q = _mm256_add_pd(_mm512_castpd512_pd256(e), _mm512_extractf64x4_pd(e, 1));
  __m128d d = _mm_add_pd(_mm256_castpd256_pd128(q), _mm256_extractf128_pd(q, 1));
  return _mm_cvtsd_f64(_mm_add_sd(d, _mm_unpackhi_pd(d, d)));
}
// The same for eight rows.
BN_INLINE __m512d fold_eight(const double* rows) {
  __m512d r[8];
  for (int i = 0; i < 8; i++) {
    r[i] = _mm512_add_pd(_mm512_loadu_pd(rows + 16 * i), _mm512_loadu_pd(rows + 16 * i + 8));
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_add_pd(_mm512_shuffle_f64x2(r[2 * i], r[2 * i + 1], 0x44),
                         _mm512_shuffle_f64x2(r[2 * i], r[2 * i + 1], 0xee));
  }
  for (int i = 0; i < 2; i++) {
    r[i] = _mm512_add_pd(_mm512_shuffle_f64x2(r[2 * i], r[2 * i + 1], 0x88),
                         _mm512_shuffle_f64x2(r[2 * i], r[2 * i + 1], 0xdd));
  }
  r[0] = _mm512_add_pd(_mm512_unpacklo_pd(r[0], r[1]), _mm512_unpackhi_pd(r[0], r[1]));
  // Row 4 * i + j is now in lane 2 * j + i.
  return _mm512_permutexvar_pd(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), r[0]);
}
BN_INLINE Vec<double> fold_rows(const double* rows) {
  return {fold_eight(rows), fold_eight(rows + 128)};
}

// ---- between the two

BN_INLINE Vec<double> widen(Vec<float> x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x.v)),
          _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1))};
}
BN_INLINE Vec<double> widen(Vec<double> x) { return x; }
BN_INLINE void narrow(Vec<double> x, Vec<float>* out) {
  out->v =
      _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.a)), _mm512_cvtpd_ps(x.b), 1);
}
BN_INLINE void narrow(Vec<double> x, Vec<double>* out) { *out = x; }

// ---- 16-bit storage

// The upper half of every 32 bits: one permutation instead of a shift and a conversion.
BN_INLINE Vec<float> from_bits(Bf16, __m256i h) {
  const __m512i to_upper = _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7,
                                            0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
  return {_mm512_castsi512_ps(
      _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, to_upper, _mm512_castsi256_si512(h)))};
}
BN_INLINE Vec<float> from_bits(F16, __m256i h) { return {_mm512_cvtph_ps(h)}; }
BN_INLINE __m256i to_bits(Bf16, Vec<float> x) {
  // vcvtneps2bf16 flushes subnormals, so the rounding is done on integers, on every CPU.
  const __m512i upper = _mm512_set_epi16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31, 29, 27,
                                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  __m512i b = _mm512_castps_si512(x.v), one = _mm512_set1_epi32(1);
  __mmask16 odd = _mm512_test_epi32_mask(b, _mm512_set1_epi32(0x10000));
  __m512i half = _mm512_add_epi32(b, _mm512_set1_epi32(0x7fff));
  __m512 rounded = _mm512_castsi512_ps(_mm512_mask_add_epi32(half, odd, half, one));
  // NaNs, quiet (class 0) and signaling (1), become quiet ones of the same payload (2); else
  // nothing.
  rounded = _mm512_fixupimm_ps(rounded, x.v, _mm512_set1_epi32(0x22), 0);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, _mm512_castps_si512(rounded)));
}
BN_INLINE __m256i to_bits(F16, Vec<float> x) {
  return _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

template <class H>
BN_INLINE Vec<float> load(const H* p) {
  return from_bits(H{}, _mm256_loadu_si256((const __m256i*)p));
}
template <class H>
BN_INLINE Vec<float> load(const H* p, int64_t n, Vec<float> rest) {
  Vec<float> x = from_bits(H{}, _mm256_maskz_loadu_epi16(first(n), p));
  return {_mm512_mask_mov_ps(rest.v, first(n), x.v)};
}
template <class H>
BN_INLINE void store(H* p, Vec<float> x) {
  _mm256_storeu_si256((__m256i*)p, to_bits(H{}, x));
}
template <class H>
BN_INLINE void store(H* p, int64_t n, Vec<float> x) {
  _mm256_mask_storeu_epi16(p, first(n), to_bits(H{}, x));
}
template <class H>
BN_INLINE void stream(H* p, Vec<float> x) {
  _mm256_stream_si256((__m256i*)p, to_bits(H{}, x));
}

BN_INLINE void fence() { _mm_sfence(); }
BN_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// Whether code is to be small rather than fast: no second way where one does.
constexpr bool kSmall = false;

// Bytes of all vector registers.
constexpr int64_t kRegisters = 2048;

}  // namespace bn::avx512
