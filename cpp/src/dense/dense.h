// Fully connected layers with few weights, one after another. Every output is bias and then one fma
// for each input, in order, whatever the instruction set and the number of rows.
#pragma once
#include "../../include/batchnorm4j.h"

namespace bn {

using Dense = void(int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x,
                   float* y);

Dense dense_avx2, dense_avx512, dense_neon;

}  // namespace bn
