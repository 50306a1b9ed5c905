// x * y + z rounded once, in C++ alone: for code that may not use the CPU's instruction. The C
// library is no help everywhere: that of mingw-w64 goes through x87 registers and rounds twice.
#pragma once
#include <stdint.h>

namespace bn {

// The product of two floats is exact in double. Its sum with z, rounded to odd, keeps enough to be
// rounded once more to float (Boldo and Melquiond, 2008).
static inline float exact_fma(float x, float y, float z) {
  double product = (double)x * y, sum = product + z;
  double z_part = sum - product;
  double error = (product - (sum - z_part)) + (z - z_part);
  if (error < 0 || error > 0) {  // not if it is NaN, as with infinities
    int64_t bits;
    __builtin_memcpy(&bits, &sum, 8);
    if ((bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : -1;
    __builtin_memcpy(&sum, &bits, 8);
  }
  return (float)sum;
}

// A finite double other than zero: mantissa * 2^exponent, mantissa in [2^52, 2^53).
struct Parts {
  uint64_t mantissa;
  int exponent;

  explicit Parts(uint64_t bits) {
    mantissa = bits & ((uint64_t{1} << 52) - 1);
    exponent = (int)(bits >> 52 & 0x7ff) - 1075;
    if (exponent == -1075) {  // subnormal
      int shift = __builtin_clzll(mantissa) - 11;
      mantissa <<= shift;
      exponent += 1 - shift;
    } else {
      mantissa |= uint64_t{1} << 52;
    }
  }
};

// In integers: the product has 106 bits, and 128 are enough for the sum if those that are shifted
// out leave a mark in the lowest.
static inline double exact_fma(double x, double y, double z) {
  using Wide = unsigned __int128;
  constexpr uint64_t kSign = uint64_t{1} << 63, kInfinity = uint64_t{0x7ff} << 52;
  uint64_t bx, by, bz;
  __builtin_memcpy(&bx, &x, 8);
  __builtin_memcpy(&by, &y, 8);
  __builtin_memcpy(&bz, &z, 8);
  bool special = (bx & kInfinity) == kInfinity || (by & kInfinity) == kInfinity;
  if (special || x == 0 || y == 0) return x * y + z;
  if ((bz & kInfinity) == kInfinity) return z + z;
  if (z == 0) return x * y;

  // Both below 2^126, with at least 20 zeros at the end.
  Parts px(bx & ~kSign), py(by & ~kSign), pz(bz & ~kSign);
  Wide a = (Wide)px.mantissa * py.mantissa << 20, b = (Wide)pz.mantissa << 73;
  int exponent = px.exponent + py.exponent - 20, exponent_b = pz.exponent - 73;
  uint64_t sign = (bx ^ by) & kSign, sign_b = bz & kSign;
  if (exponent < exponent_b) {
    Wide c = a;
    a = b;
    b = c;
    int e = exponent;
    exponent = exponent_b;
    exponent_b = e;
    uint64_t s = sign;
    sign = sign_b;
    sign_b = s;
  }
  int apart = exponent - exponent_b;
  b = apart > 127 ? 1 : b >> apart | ((b & (((Wide)1 << apart) - 1)) != 0);
  if (sign == sign_b) {
    a += b;
  } else if (a >= b) {
    a -= b;
  } else {
    a = b - a;
    sign = sign_b;
  }
  if (a == 0) return 0;

  // Round to 53 bits, or to multiples of 2^-1074.
  uint64_t high = (uint64_t)(a >> 64);
  int top = high != 0 ? 127 - __builtin_clzll(high) : 63 - __builtin_clzll((uint64_t)a);
  int drop = exponent + top < -1022 ? -1074 - exponent : top - 52;
  uint64_t kept;
  if (drop <= 0) {
    kept = (uint64_t)a << -drop;
  } else if (drop > 127) {
    kept = 0;
  } else {
    kept = (uint64_t)(a >> drop);
    Wide rest = a & (((Wide)1 << drop) - 1), half = (Wide)1 << (drop - 1);
    if (rest > half || (rest == half && (kept & 1) != 0)) kept++;
  }
  // The mantissa's highest bit counts as one more of the exponent; so does a carry.
  int lowest = exponent + drop;
  uint64_t bits = lowest > 971 ? kInfinity : ((uint64_t)(lowest + 1074) << 52) + kept;
  bits |= sign;
  double result;
  __builtin_memcpy(&result, &bits, 8);
  return result;
}

}  // namespace bn
