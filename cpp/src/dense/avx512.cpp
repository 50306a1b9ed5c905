// Compiled with the flags that cmake/InstructionSets.cmake has for avx512.
#include "../simd/avx512.h"
#include "dense.h"

namespace bn::avx512 {
namespace {
constexpr int kSums = 16;  // of 32 registers
#include "dense.inl"
}  // namespace
}  // namespace bn::avx512

void bn::dense_avx512(int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x,
                      float* y) {
  avx512::dense(rows, count, layers, x, y);
}
