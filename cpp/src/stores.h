// Whether a call writes its output around the caches (non-temporal stores) or through them.
//
// Around saves reading the lines that are about to be overwritten, a third of a copy's traffic, and
// loses where the data would have stayed in cache. Where that border lies cannot be told from cache
// sizes: a virtual machine reports the whole last-level cache of a host it shares (measured:
// streaming 2 x faster at a tenth of the reported size, docs/performance.md). So it is learnt:
// calls of one problem try both in turn a few times, then take the faster, and look again now and
// then. No bit of a result depends on it.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>

#include "kernels.h"
#include "schedule.h"

namespace bn {

enum class Pass { kInference, kTraining, kBackward };

// The choice for one call; tells the policy how long the call took when it ends.
class StoreChoice {
 public:
  // possible: false where the output is also an input, whose lines are in cache already.
  StoreChoice(Pass pass, const Kernels* kernels, const Plan& plan, bool possible);
  ~StoreChoice();
  StoreChoice(const StoreChoice&) = delete;
  StoreChoice& operator=(const StoreChoice&) = delete;

  bool stream() const { return stream_; }

 private:
  // What is known of a problem. Two calls that write to it at once lose a sample, no more.
  struct Cell {
    std::atomic<uint64_t> problem{0};  // 0: free
    std::atomic<uint32_t> calls{0};
    std::atomic<int64_t> best[2] = {};  // least nanoseconds seen of late, through and around
  };
  static Cell& cell_of(uint64_t problem);

  Cell* cell_ = nullptr;
  bool stream_ = false;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace bn
