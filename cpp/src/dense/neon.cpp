// Compiled with the flags that cmake/InstructionSets.cmake has for neon.
#include "../simd/neon.h"
#include "dense.h"

namespace bn::neon {
namespace {
constexpr int kSums = 4;  // of 32 registers, four to a vector
#include "dense.inl"
}  // namespace
}  // namespace bn::neon

void bn::dense_neon(int64_t rows, int64_t in, int64_t out, const float* x, const float* w,
                    const float* bias, bool relu, float* y) {
  neon::dense(rows, in, out, x, w, bias, relu, y);
}
