// Compiled with the flags that cmake/InstructionSets.cmake has for avx2.
#include "../simd/avx2.h"
#include "dense.h"

namespace bn::avx2 {
namespace {
constexpr int kSums = 4;  // of 16 registers, two to a vector
#include "dense.inl"
}  // namespace
}  // namespace bn::avx2

void bn::dense_avx2(int64_t rows, int64_t in, int64_t out, const float* x, const float* w,
                    const float* bias, bool relu, float* y) {
  avx2::dense(rows, in, out, x, w, bias, relu, y);
}
