// Which instruction sets this machine has, and their kernels.
#pragma once
#include "kernels.h"

namespace bn {

// What CPUID and XCR0 say of an x86-64 CPU and its operating system.
struct X86Features {
  unsigned leaf1_c, leaf7_b, xcr0;

  // Bits of leaf 1, ECX.
  static constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;
  // Bits of leaf 7, EBX; the last four are AVX-512's.
  static constexpr int kAvx2 = 5, kF = 16, kDq = 17, kBw = 30, kVl = 31;
  // Masks of XCR0: the state of xmm and ymm registers, and that of masks and zmm registers.
  static constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
};

// The best bn_isa for these: all features that the compiler flags of its kernels allow
// (cmake/InstructionSets.cmake) are there, and the registers are saved.
int isa_of(X86Features features);

// The best bn_isa of CPU and operating system. Detected once.
int best_isa();

// The kernels for a bn_isa and a bn_dtype, or null where this machine or build does not have them.
const Kernels* kernels_for(int isa, int dtype);

// Bytes of a core's L2; a guess where neither CPU nor system says.
int64_t l2_bytes();

// Bytes of a cache that CPUID (leaf 4, AMD's 0x8000001d) tells of in EBX and ECX.
int64_t cache_bytes(unsigned b, unsigned c);

// Whether AMD made the CPU.
bool is_amd();

}  // namespace bn
