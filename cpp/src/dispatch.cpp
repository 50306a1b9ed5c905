#include "dispatch.h"

#include "batchnorm4j.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <unistd.h>
#endif

namespace bn {
namespace {

bool bit(unsigned word, int i) { return (word >> i & 1) != 0; }

#if defined(__x86_64__)

struct Cpuid {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Cpuid(unsigned leaf, unsigned subleaf) {
    if (__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d) == 0) a = b = c = d = 0;
  }
};

// XCR0: the register states that the operating system saves.
unsigned saved_states() {
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

int detect() {
  Cpuid one(1, 0), seven(7, 0);
  bool xgetbv_allowed = bit(one.c, X86Features::kOsxsave);
  return isa_of({one.c, seven.b, xgetbv_allowed ? saved_states() : 0});
}

#elif defined(__aarch64__)

int detect() { return bn_neon; }

#else

int detect() { return bn_scalar; }

#endif

#define BN_CHOOSE(isa)                \
  switch (dtype) {                    \
    case bn_f32:                      \
      return &kernels_##isa##_f32();  \
    case bn_f64:                      \
      return &kernels_##isa##_f64();  \
    case bn_bf16:                     \
      return &kernels_##isa##_bf16(); \
    case bn_f16:                      \
      return &kernels_##isa##_f16();  \
    default:                          \
      return nullptr;                 \
  }

#if defined(__x86_64__)

// Not from the operating system: only Linux tells.
int64_t read_l2() {
  constexpr unsigned kIntels = 4, kAmds = 0x8000001d, kTypes = 0x1f;
  const unsigned leaf = is_amd() ? kAmds : kIntels;
  for (unsigned i = 0; i < 16; i++) {
    Cpuid cache(leaf, i);
    if ((cache.a & kTypes) == 0) break;  // that was the last, or the CPU does not tell
    if ((cache.a >> 5 & 7) == 2) return cache_bytes(cache.b, cache.c);
  }
  return 0;
}

#elif defined(_SC_LEVEL2_CACHE_SIZE)

int64_t read_l2() { return sysconf(_SC_LEVEL2_CACHE_SIZE); }

#else

int64_t read_l2() { return 0; }

#endif

}  // namespace

int64_t cache_bytes(unsigned b, unsigned c) {
  int64_t ways = (b >> 22) + 1, partitions = (b >> 12 & 0x3ff) + 1, line = (b & 0xfff) + 1;
  int64_t sets = int64_t{c} + 1;
  return ways * partitions * line * sets;
}

int isa_of(X86Features f) {
  using X = X86Features;
  bool avx2 = bit(f.leaf1_c, X::kAvx) && bit(f.leaf1_c, X::kFma) && bit(f.leaf1_c, X::kF16c) &&
              bit(f.leaf7_b, X::kAvx2) && (f.xcr0 & X::kYmm) == X::kYmm;
  bool avx512 = avx2 && bit(f.leaf7_b, X::kF) && bit(f.leaf7_b, X::kDq) && bit(f.leaf7_b, X::kBw) &&
                bit(f.leaf7_b, X::kVl) && (f.xcr0 & X::kZmm) == X::kZmm;
  return avx512 ? bn_avx512 : avx2 ? bn_avx2 : bn_scalar;
}

int best_isa() {
  static const int best = detect();
  return best;
}

const Kernels* kernels_for(int isa, int dtype) {
  switch (isa) {
    case bn_scalar:
      BN_CHOOSE(scalar)
#if defined(__x86_64__)
    case bn_avx2:
      if (best_isa() < bn_avx2) return nullptr;
      BN_CHOOSE(avx2)
    case bn_avx512:
      if (best_isa() < bn_avx512) return nullptr;
      BN_CHOOSE(avx512)
#elif defined(__aarch64__)
    case bn_neon:
      BN_CHOOSE(neon)
#endif
    default:
      return nullptr;
  }
}

int64_t l2_bytes() {
  constexpr int64_t kLikely = 1 << 20;
  static const int64_t told = read_l2(), bytes = told > 0 ? told : kLikely;
  return bytes;
}

bool is_amd() {
#if defined(__x86_64__)
  Cpuid vendor(0, 0);
  // "AuthenticAMD".
  return vendor.b == 0x68747541 && vendor.d == 0x69746e65 && vendor.c == 0x444d4163;
#else
  return false;
#endif
}

}  // namespace bn
