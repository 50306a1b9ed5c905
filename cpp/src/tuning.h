// What is fastest on a CPU and cannot be told from its caches: numbers measured on one CPU of a
// maker (docs/performance.md, lessons 4, 8, 16, 19, 27, 31 and 32). No bit of a result depends on
// them.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace bn {

// As initialized: for Intel's Sapphire Rapids, and for what nobody has measured.
struct Tuning {
  // A pass over all of memory that writes, beyond the last-level cache.
  int64_t streams = kStreams;        // side by side, channels first
  int64_t other_streams = kStreams;  // and of short rows, of 16 bits, or within the shared L3
  int64_t row_streams = kStreams;    // channels last
  int64_t task = 64 << 10;           // bytes of one array in a task, at most
  int64_t shared_l3 = 0;             // L2s that the last-level cache of several cores is like
  int64_t shared = 4;  // samples that share what is made ready per channel, where rows are short

  // A channel tile that is written while the next is read.
  int64_t short_row = kChunk;        // values; less is short
  int64_t short_streams = kStreams;  // side by side, of short rows
  int64_t long_streams = 4;          // and of long ones (8 of 56x56: 1.2 times as long)
  bool copies = true;                // whether crowded tiles of more than 16 bits are copied

  int64_t chunks_ahead = 0;  // channels first, of several samples, from beyond the caches

  int64_t alike_lines = 48;  // lines of one set of the L1 that are summed side by side, at most
};

// This CPU's.
const Tuning& tuning();

}  // namespace bn
