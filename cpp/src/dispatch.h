// Which instruction sets this machine has, and their kernels.
#pragma once
#include "kernels.h"

namespace bn {

// The best bn_isa of CPU and operating system. Detected once.
int best_isa();

// The kernels for a bn_isa and a bn_dtype, or null where this machine or build does not have them.
const Kernels* kernels_for(int isa, int dtype);

// Bytes of a core's L2; a guess where the system does not say.
int64_t l2_bytes();

}  // namespace bn
