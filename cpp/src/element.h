// What elements are stored as and computed in. Included by kernel files: no standard library beyond
// integers, so that nothing compiled for one instruction set can be linked into another.
#pragma once
#include <stdint.h>

#include "fma.h"

// BN_INLINE: of functions; BN_ALWAYS: of lambdas that hold the body of a loop.
#define BN_INLINE static inline __attribute__((always_inline))
#define BN_ALWAYS __attribute__((always_inline))

namespace bn {

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

// The type a stored element is computed in, E in docs/numerics.md.
template <class S>
struct ElementOf {
  using type = float;
};
template <>
struct ElementOf<double> {
  using type = double;
};
template <class S>
using Element = typename ElementOf<S>::type;

// An element at any address, as a Java buffer may begin at any byte.
template <class S>
BN_INLINE S unaligned(const S* p) {
  S x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// Stands for a count of 16 that is known when compiled.
struct All {};

// The scalar forms of words of the vector vocabulary (simd/scalar.h).
#if defined(__FMA__) || defined(__aarch64__)
BN_INLINE float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
BN_INLINE double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
#else
BN_INLINE float fma(float x, float y, float z) { return exact_fma(x, y, z); }
BN_INLINE double fma(double x, double y, double z) { return exact_fma(x, y, z); }
#endif
BN_INLINE double fnma(double x, double y, double z) { return fma(-x, y, z); }
BN_INLINE double clamp0(double x) { return x < 0 ? 0 : x; }

BN_INLINE int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
BN_INLINE int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

}  // namespace bn
