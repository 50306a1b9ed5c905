#include "tuning.h"

#include "dispatch.h"

namespace bn {
namespace {

// Zen 4, whose L1 has 8 ways: many streams drive out each other's lines, and a short one ends
// before the prefetchers follow it. What crowding drives out of the L2 the L3 gives back: 32 MB for
// cores of 1 MB, and beyond what goes in and out at once.
constexpr Tuning amd() {
  Tuning t;
  t.streams = 3;
  t.other_streams = 1;
  t.row_streams = kRows;
  t.task = 4 << 20;
  t.shared_l3 = 40;
  t.shared = 1;
  t.short_row = kChunk / 2;
  t.short_streams = 1;
  t.copies = false;
  t.chunks_ahead = 6;
  t.alike_lines = 8;
  return t;
}

constexpr Tuning kUsual, kAmd = amd();

}  // namespace

const Tuning& tuning() {
  static const Tuning& of_this_cpu = is_amd() ? kAmd : kUsual;
  return of_this_cpu;
}

}  // namespace bn
