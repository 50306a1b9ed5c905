// Portable C++; compiled with nothing beyond the platform's baseline.
#include "../simd/scalar.h"
#include "../kernels.h"

namespace bn::scalar {
#include "common.inl"
#include "moments.inl"
#include "walk.inl"
#include "normalize.inl"
#include "gradient.inl"
#include "table.inl"
}  // namespace bn::scalar

const bn::Kernels& bn::BN_TABLE() { return scalar::kTable; }
