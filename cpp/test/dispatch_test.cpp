// The instruction set is the one the system says the CPU has.
#include "dispatch.h"

#include <gtest/gtest.h>

#if defined(__linux__)
#include <unistd.h>
#endif

#include <cstdlib>
#include <fstream>
#include <string>

#include "batchnorm4j.h"

namespace {

TEST(Dispatch, KnowsOnlyWhatThisMachineHas) {
  int best = bn_detect_isa();
  EXPECT_NE(nullptr, bn::kernels_for(best, bn_f32));
  EXPECT_NE(nullptr, bn::kernels_for(bn_scalar, bn_f16));
  EXPECT_EQ(nullptr, bn::kernels_for(4, bn_f32));
  EXPECT_EQ(nullptr, bn::kernels_for(best, 4));
  if (best < bn_avx512) {
    EXPECT_EQ(nullptr, bn::kernels_for(bn_avx512, bn_f32));
  }
  if (best != bn_neon) {
    EXPECT_EQ(nullptr, bn::kernels_for(bn_neon, bn_f32));
  }
}

using X = bn::X86Features;

constexpr unsigned bits() { return 0; }
template <class... Rest>
constexpr unsigned bits(int first, Rest... rest) {
  return 1u << first | bits(rest...);
}

// Every single thing a tier needs takes it away when it is missing.
TEST(Dispatch, ATierNeedsAllItsFeaturesAndSavedRegisters) {
  constexpr X kAll = {bits(X::kFma, X::kOsxsave, X::kAvx, X::kF16c),
                      bits(X::kAvx2, X::kF, X::kDq, X::kBw, X::kVl), X::kZmm};
  EXPECT_EQ(bn_avx512, bn::isa_of(kAll));
  EXPECT_EQ(bn_scalar, bn::isa_of({0, 0, 0}));
  for (int i : {X::kFma, X::kAvx, X::kF16c}) {
    EXPECT_EQ(bn_scalar, bn::isa_of({kAll.leaf1_c & ~bits(i), kAll.leaf7_b, kAll.xcr0})) << i;
  }
  EXPECT_EQ(bn_scalar, bn::isa_of({kAll.leaf1_c, kAll.leaf7_b & ~bits(X::kAvx2), kAll.xcr0}));
  for (int i : {X::kF, X::kDq, X::kBw, X::kVl}) {
    EXPECT_EQ(bn_avx2, bn::isa_of({kAll.leaf1_c, kAll.leaf7_b & ~bits(i), kAll.xcr0})) << i;
  }
  // The CPU can and the system does not save: xmm 1, ymm 2, masks and the two halves of zmm 5 to 7.
  for (int i : {1, 2}) {
    EXPECT_EQ(bn_scalar, bn::isa_of({kAll.leaf1_c, kAll.leaf7_b, kAll.xcr0 & ~bits(i)})) << i;
  }
  for (int i : {5, 6, 7}) {
    EXPECT_EQ(bn_avx2, bn::isa_of({kAll.leaf1_c, kAll.leaf7_b, kAll.xcr0 & ~bits(i)})) << i;
  }
}

TEST(Dispatch, SizeOfACache) {
  // Intel's manual, CPUID leaf 4: 16 ways of 2048 sets of lines of 64 bytes; 8 ways of 64.
  EXPECT_EQ(2 << 20, bn::cache_bytes(15u << 22 | 63, 2047));
  EXPECT_EQ(32 << 10, bn::cache_bytes(7u << 22 | 63, 63));
#if defined(_SC_LEVEL2_CACHE_SIZE)
  if (std::getenv("BN_EXPECT_ISA") != nullptr) GTEST_SKIP() << "the system's is the host's";
  if (long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE); l2 > 0) {
    EXPECT_EQ(l2, bn::l2_bytes());
  }
#endif
}

// BN_EXPECT_ISA: the bn_isa of an emulated CPU, of which the system's own account is not true.
TEST(Dispatch, FindsWhatTheEmulatedCpuHas) {
  const char* expected = std::getenv("BN_EXPECT_ISA");
  if (expected == nullptr) GTEST_SKIP() << "BN_EXPECT_ISA is not set";
  EXPECT_EQ(expected, std::to_string(bn_detect_isa()));
}

#if defined(__linux__) && defined(__x86_64__)
TEST(Dispatch, AgreesWithProcCpuinfo) {
  if (std::getenv("BN_EXPECT_ISA") != nullptr) GTEST_SKIP() << "/proc/cpuinfo is the host's";
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && line.rfind("flags", 0) != 0) {
  }
  ASSERT_FALSE(line.empty()) << "no flags in /proc/cpuinfo";
  line += " ";
  auto has = [&](const char* flag) {
    return line.find(std::string(" ") + flag + " ") != std::string::npos;
  };
  int expected = bn_scalar;
  if (has("avx2") && has("fma") && has("f16c")) {
    expected = bn_avx2;
    if (has("avx512f") && has("avx512dq") && has("avx512bw") && has("avx512vl"))
      expected = bn_avx512;
  }
  EXPECT_EQ(expected, bn_detect_isa());
}
#endif

}  // namespace
