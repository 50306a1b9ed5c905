#include "stores.h"

#include <algorithm>

#include "dispatch.h"

namespace bn {
namespace {

constexpr int kClasses = 48;
constexpr uint32_t kTrials = 8;   // calls that try both in turn
constexpr uint32_t kAgain = 512;  // one in so many looks again, besides the 16th, 32nd, 64th, ...
constexpr double kForget = 1.02;  // a time not reached again fades, so that a lucky one cannot rule

int log2_of(int64_t x) {
  int n = 0;
  while (x > 1) {
    x >>= 1;
    n++;
  }
  return n;
}

}  // namespace

StoreChoice::Cell& StoreChoice::cell(Pass pass, bool channels_last, int size_class) {
  static Cell cells[3][2][kClasses];
  return cells[static_cast<int>(pass)][channels_last][size_class];
}

StoreChoice::StoreChoice(Pass pass, bool channels_last, int64_t bytes, int workers, bool possible)
    : bytes_(bytes) {
  if (!possible || bytes <= l2_bytes() * workers) return;
  cell_ = &cell(pass, channels_last, log2_of(bytes));
  uint32_t call = cell_->calls.fetch_add(1, std::memory_order_relaxed);
  double through = cell_->best[0].load(std::memory_order_relaxed);
  double around = cell_->best[1].load(std::memory_order_relaxed);
  bool faster = around > 0 && around < through;
  if (call < kTrials) {
    stream_ = call % 2 == 1;
  } else {
    bool again = call % kAgain == 0 || (call & (call - 1)) == 0;
    stream_ = again ? !faster : faster;
  }
  start_ = std::chrono::steady_clock::now();
}

StoreChoice::~StoreChoice() {
  if (cell_ == nullptr) return;
  std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start_;
  double per_byte = time.count() / static_cast<double>(bytes_);
  // A lost race between two callers loses one sample.
  std::atomic<double>& best = cell_->best[stream_];
  double seen = best.load(std::memory_order_relaxed);
  double now = seen == 0 ? per_byte : std::min(per_byte, seen * kForget);
  best.store(now, std::memory_order_relaxed);
}

}  // namespace bn
