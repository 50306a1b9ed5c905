// Whether a call writes its output around the caches (non-temporal stores) or through them.
//
// Around saves reading the lines that are about to be overwritten, a third of a copy's traffic, and
// loses where the data would have stayed in cache. Where that border lies cannot be told from cache
// sizes: a virtual machine reports the whole last-level cache of a host it shares (measured:
// streaming 2 x faster at a tenth of the reported size, docs/performance.md). So it is learnt from
// the calls of each problem. No bit of a result depends on it.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>

#include "kernels.h"
#include "schedule.h"

namespace bn {

// What the calls of one problem have shown. A call finds the caches as the calls before it left
// them: after stores around them it takes some four calls until the output lies there again
// (measured: 47, 36, then 21 us). So calls come in groups of one way; now and then, and when they
// take longer than the other way did, a group goes that way, and its median is compared with that
// of the group before it. Not the fastest: of two ways that would prefer the less steady one. Such
// a look ends early where its first calls are all so slow that the rest would cost more than it
// could tell: of large tensors a call is milliseconds. Calls at the same time may lose a sample, no
// more.
class StoreTrials {
 public:
  struct Call {
    bool around;
    uint32_t place;  // in its group
  };
  Call next();
  void took(const Call& call, int64_t nanoseconds);
  // Knows nothing, and goes this way until it does.
  void begin(bool around);

 private:
  static constexpr uint32_t kGroup = 8;
  static constexpr uint32_t kEnough = 3;  // of a look, if all are clearly slower

  int64_t median() const;  // of the group's times

  std::atomic<uint32_t> calls_{0};
  std::atomic<bool> around_{false};  // what is faster, as far as known
  // Nanoseconds of the last group that went so, and of the last one that did not; 0: not known.
  std::atomic<int64_t> usual_{0}, other_{0};
  std::atomic<int64_t> times_[kGroup] = {};
};

enum class Pass { kInference, kTraining, kBackward, kBackwardInference, kInputGradient };

// The choice for one call; tells the trials how long the call took when it ends.
class StoreChoice {
 public:
  // possible: false where the output is also an input, whose lines are in cache already.
  StoreChoice(Pass pass, const Kernels* kernels, const Plan& plan, bool possible);
  ~StoreChoice();
  StoreChoice(const StoreChoice&) = delete;
  StoreChoice& operator=(const StoreChoice&) = delete;

  bool around() const { return call_.around; }

 private:
  StoreTrials* trials_ = nullptr;
  StoreTrials::Call call_{};
  std::chrono::steady_clock::time_point start_;
};

}  // namespace bn
