// Compiled with the flags that cmake/InstructionSets.cmake has for avx2.
#include "../simd/avx2.h"
#include "dense.h"

namespace bn::avx2 {
namespace {
constexpr int kSums = 4;  // of 16 registers, two to a vector
#include "dense.inl"
}  // namespace
}  // namespace bn::avx2

void bn::dense_avx2(int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x,
                    float* y) {
  avx2::dense(rows, count, layers, x, y);
}
