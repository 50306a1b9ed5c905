#include "tunings.h"

#include "dispatch.h"

namespace {
const bn::Tuning* followed = nullptr;
}  // namespace

// Found by the linker before the library's, which therefore stays there.
const bn::Tuning& bn::tuning() {
  if (followed) return *followed;
  return is_amd() ? kAmdTuning : kUsualTuning;
}

FollowTuning::FollowTuning(const bn::Tuning& tuning) { followed = &tuning; }
FollowTuning::~FollowTuning() { followed = nullptr; }

std::vector<bn::Tuning> tunings() {
  bn::Tuning few = bn::kAmdTuning;
  few.streams = 2;
  few.other_streams = few.row_streams = few.short_streams = few.narrow_streams = 3;
  few.three_row_streams = 5;
  few.task = 100 << 10;
  few.shared_l3 = 0;
  few.shared = 2;
  few.chunks_ahead = 2;
  return {bn::kUsualTuning, bn::kAmdTuning, few};
}
