// A fully connected layer with few weights. w is by input and then output, rows padded to a
// multiple of 16 outputs, as is bias. Every output is bias and then one fma for each input, in
// order, whatever the instruction set and the number of rows.
#pragma once
#include <stdint.h>

namespace bn {

using Dense = void(int64_t rows, int64_t in, int64_t out, const float* x, const float* w,
                   const float* bias, bool relu, float* y);

Dense dense_avx2, dense_avx512, dense_neon;

}  // namespace bn
