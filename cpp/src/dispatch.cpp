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

#if defined(__x86_64__)

struct Cpuid {
  unsigned a = 0, b = 0, c = 0, d = 0;
  Cpuid(unsigned leaf, unsigned subleaf) {
    if (__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d) == 0) a = b = c = d = 0;
  }
};

bool bit(unsigned word, int i) { return (word >> i & 1) != 0; }

// The register states that the operating system saves: bits of XCR0.
unsigned saved_states() {
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Every feature that a kernel file's compiler flags allow must be there, and its registers saved.
int detect() {
  Cpuid one(1, 0), seven(7, 0);
  constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;
  if (!bit(one.c, kOsxsave) || !bit(one.c, kAvx)) return bn_scalar;
  unsigned states = saved_states();
  constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
  bool avx2 = (states & kYmm) == kYmm && bit(one.c, kFma) && bit(one.c, kF16c) && bit(seven.b, 5);
  if (!avx2) return bn_scalar;
  constexpr int kF = 16, kDq = 17, kBw = 30, kVl = 31;
  bool avx512 = (states & kZmm) == kZmm && bit(seven.b, kF) && bit(seven.b, kDq) &&
                bit(seven.b, kBw) && bit(seven.b, kVl);
  return avx512 ? bn_avx512 : bn_avx2;
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

int64_t read_l2() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (l2 > 0) return l2;
#endif
  return int64_t{1} << 20;
}

}  // namespace

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
  static const int64_t bytes = read_l2();
  return bytes;
}

}  // namespace bn
