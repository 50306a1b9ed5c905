// Compiled with the flags that cmake/InstructionSets.cmake has for avx512.
#include "../simd/avx512.h"
#include "dense.h"

namespace bn::avx512 {
namespace {
constexpr int kSums = 16;  // of 32 registers
#include "dense.inl"
}  // namespace
}  // namespace bn::avx512

void bn::dense_avx512(int64_t rows, int64_t in, int64_t out, const float* x, const float* w,
                      const float* bias, bool relu, float* y) {
  avx512::dense(rows, in, out, x, w, bias, relu, y);
}
