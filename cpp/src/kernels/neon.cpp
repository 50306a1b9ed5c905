// Compiled for ARMv8-A, which has NEON.
#include "../simd/neon.h"
#include "../kernels.h"

namespace bn::neon {
#include "common.inl"
#include "moments.inl"
#include "walk.inl"
#include "normalize.inl"
#include "gradient.inl"
#include "table.inl"
}  // namespace bn::neon

const bn::Kernels& bn::BN_TABLE() { return neon::kTable; }
