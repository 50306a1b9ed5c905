// Whether a call writes its output around the caches (non-temporal stores) or through them.
//
// Around saves reading the lines that are about to be overwritten, a third of a copy's traffic, and
// loses where the data would have stayed in cache. Where that border lies cannot be told from cache
// sizes: a virtual machine reports the whole last-level cache of a host it shares (measured:
// streaming 2 x faster at a tenth of the reported size, docs/performance.md). So it is learnt:
// calls of one kind, layout and size try both in turn a few times, then take the faster, and look
// again now and then. No bit of a result depends on it.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>

namespace bn {

enum class Pass { kInference, kTraining, kBackward };

// The choice for one call; tells the policy how long the call took when it ends.
class StoreChoice {
 public:
  // bytes: all that the call reads and writes. possible: false where the output is also an input,
  // whose lines are in cache already.
  StoreChoice(Pass pass, bool channels_last, int64_t bytes, int workers, bool possible);
  ~StoreChoice();
  StoreChoice(const StoreChoice&) = delete;
  StoreChoice& operator=(const StoreChoice&) = delete;

  bool stream() const { return stream_; }

 private:
  struct Cell {
    std::atomic<uint32_t> calls{0};
    // The least nanoseconds seen of late, through and around; of a size class, so sizes within a
    // factor of two are compared per byte.
    std::atomic<double> best[2] = {};
  };
  static Cell& cell(Pass pass, bool channels_last, int size_class);

  Cell* cell_ = nullptr;
  bool stream_ = false;
  int64_t bytes_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace bn
