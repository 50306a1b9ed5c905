// Compiled with -mavx2 -mfma -mf16c.
#include "../kernels.h"
#include "../simd/avx2.h"

namespace bn::avx2 {
#include "common.inl"
#include "moments.inl"
#include "normalize.inl"
#include "gradient.inl"
#include "table.inl"
}  // namespace bn::avx2

const bn::Kernels& bn::BN_TABLE() { return avx2::kTable; }
