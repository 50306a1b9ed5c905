// Compiled with the flags that cmake/InstructionSets.cmake has for neon.
#include "../simd/neon.h"
#include "dense.h"

namespace bn::neon {
namespace {
constexpr int kSums = 4;  // of 32 registers, four to a vector
#include "dense.inl"
}  // namespace
}  // namespace bn::neon

void bn::dense_neon(int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x,
                    float* y) {
  neon::dense(rows, count, layers, x, y);
}
