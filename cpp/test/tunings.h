// Whose tuning the schedule follows: a test may say.
#pragma once
#include <vector>

#include "tuning.h"

// All there are, and one that does by twos and threes what is done side by side.
std::vector<bn::Tuning> tunings();

// While it lives, calls follow this tuning instead of this CPU's.
class FollowTuning {
 public:
  explicit FollowTuning(const bn::Tuning& tuning);
  ~FollowTuning();
  FollowTuning(const FollowTuning&) = delete;
};
