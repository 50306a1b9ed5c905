#include "stores.h"

#include <algorithm>

namespace bn {
namespace {

constexpr uint32_t kTrials = 8;   // calls that try both in turn
constexpr uint32_t kAgain = 128;  // one in so many looks again, besides the 16th, 32nd, 64th
constexpr int64_t kForget = 64;   // a time not reached again grows by this part, so that a lucky
                                  // one cannot rule

// Everything that a call's time depends on, in 64 bits, not 0.
uint64_t problem_of(Pass pass, const Kernels* kernels, const Plan& plan) {
  const Extent& e = plan.extent;
  uint64_t hash = 0;
  for (uint64_t x : {(uint64_t)pass, (uint64_t)(uintptr_t)kernels, (uint64_t)plan.channels_last,
                     (uint64_t)e.n, (uint64_t)e.c, (uint64_t)e.s, (uint64_t)plan.arrays,
                     (uint64_t)plan.workers(), (uint64_t)plan.whole}) {
    // Steele, Lea and Flood (2014): the finalizer of SplitMix64.
    hash = (hash ^ x) + 0x9e3779b97f4a7c15;
    hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
    hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
    hash ^= hash >> 31;
  }
  return std::max<uint64_t>(hash, 1);
}

}  // namespace

StoreChoice::Cell& StoreChoice::cell_of(uint64_t problem) {
  constexpr uint64_t kCells = 1024, kNear = 8;
  static Cell cells[kCells];
  for (uint64_t i = 0; i < kNear; i++) {
    Cell& cell = cells[(problem + i) % kCells];
    uint64_t found = 0;
    if (cell.problem.compare_exchange_strong(found, problem) || found == problem) return cell;
  }
  // All taken: the first is forgotten.
  Cell& cell = cells[problem % kCells];
  cell.problem = problem;
  cell.calls = 0;
  cell.best[0] = cell.best[1] = 0;
  return cell;
}

StoreChoice::StoreChoice(Pass pass, const Kernels* kernels, const Plan& plan, bool possible) {
  if (!possible || !plan.beyond_l2()) return;
  cell_ = &cell_of(problem_of(pass, kernels, plan));
  uint32_t call = cell_->calls.fetch_add(1, std::memory_order_relaxed);
  int64_t through = cell_->best[0].load(std::memory_order_relaxed);
  int64_t around = cell_->best[1].load(std::memory_order_relaxed);
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
  std::chrono::nanoseconds time = std::chrono::steady_clock::now() - start_;
  std::atomic<int64_t>& best = cell_->best[stream_];
  int64_t seen = best.load(std::memory_order_relaxed);
  int64_t now = std::max<int64_t>(time.count(), 1);
  best.store(seen == 0 ? now : std::min(now, seen + seen / kForget), std::memory_order_relaxed);
}

}  // namespace bn
