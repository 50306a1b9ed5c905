// Compiled with the flags that cmake/InstructionSets.cmake has for avx512.
#include "../simd/avx512.h"
#include "../kernels.h"

namespace bn::avx512 {
#include "common.inl"
#include "moments.inl"
#include "walk.inl"
#include "normalize.inl"
#include "gradient.inl"
#include "table.inl"
}  // namespace bn::avx512

const bn::Kernels& bn::BN_TABLE() { return avx512::kTable; }
