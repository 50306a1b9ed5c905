// Compiled with the flags that cmake/InstructionSets.cmake has for avx2.
#include "../simd/avx2.h"
#include "../kernels.h"

namespace bn::avx2 {
#include "common.inl"
#include "moments.inl"
#include "walk.inl"
#include "normalize.inl"
#include "gradient.inl"
#include "table.inl"
}  // namespace bn::avx2

const bn::Kernels& bn::BN_TABLE() { return avx2::kTable; }
