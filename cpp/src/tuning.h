// What is fastest on a CPU and cannot be told from its caches: numbers measured on a CPU or two of
// a maker (docs/performance.md, lessons 4, 8, 16, 19, 27, 31, 32, 34, 35, 40, 44, 45 and 46). No
// bit of a result depends on them.
#pragma once
#include <cstdint>

#include "kernels.h"

namespace bn {

// As initialized: for Intel's, and for what nobody has measured. From a Sapphire Rapids, but for
// task, shared_l3, sums_fetch, maps_from_end, chunks_ahead and lane_streams, which are from a
// Granite Rapids.
struct Tuning {
  // A pass over all of memory that writes, beyond the last-level cache.
  int64_t streams = kStreams;        // side by side, channels first
  int64_t other_streams = kStreams;  // and of short rows, of 16 bits, or within the shared L3
  int64_t row_streams = kStreams;    // channels last
  // And of three arrays, whose rows are less than a page, beyond the shared L3.
  int64_t three_row_streams = kStreams;
  int64_t task = 1 << 20;  // bytes of one array in a task, at most
  int64_t shared_l3 = 40;  // L2s that the last-level cache of several cores is like
  int64_t shared = 4;  // samples that share what is made ready per channel, where rows are short

  // A channel tile that is written while the next is read.
  int64_t short_row = kChunk;        // values; less is short
  int64_t short_streams = kStreams;  // side by side, of short rows
  int64_t long_streams = 4;          // and of long ones (8 streams of 56x56: 1.2 times as long)
  int64_t narrow_streams = 4;        // those of 16 bits
  bool copies = true;                // whether crowded tiles are copied
  bool sums_fetch = true;            // whether half of it is read while one is summed

  // Whether a pass that writes, after sums of all channels, begins with what was summed last.
  bool maps_from_end = true;

  int64_t chunks_ahead = 4;  // sums of channels first, of several samples, beyond the caches

  // Sums of channels last.
  int64_t lane_rows = kChunk / 16;  // rows of a lane that are summed side by side
  int64_t lane_streams = 8;         // and, from memory, of all arrays, at most
  // Bytes of a row, for each array and each sum, up to which rows from memory are summed in order.
  int64_t row_in_order = 0;
};

inline constexpr Tuning kUsualTuning = {};

// Zen 4, whose L1 has 8 ways: many streams drive out each other's lines, and a short one ends
// before the prefetchers follow it. What crowding drives out of the L2 the L3 gives back: 32 MB for
// cores of 1 MB, and beyond what goes in and out at once.
constexpr Tuning amd_tuning() {
  Tuning t;
  t.streams = 3;
  t.other_streams = 1;
  t.row_streams = kRows;
  t.three_row_streams = 2;
  t.task = 4 << 20;
  t.shared = 1;
  t.short_row = kChunk / 2;
  t.short_streams = 1;
  t.narrow_streams = 1;
  t.copies = false;
  t.sums_fetch = false;
  t.maps_from_end = false;
  t.chunks_ahead = 10;
  t.lane_rows = 8;
  t.row_in_order = 64;
  return t;
}
inline constexpr Tuning kAmdTuning = amd_tuning();

// This CPU's.
const Tuning& tuning();

}  // namespace bn
