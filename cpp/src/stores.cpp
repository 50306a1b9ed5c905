#include "stores.h"

#include <algorithm>

namespace bn {
namespace {

// The groups that look at the other way: soon, then ever more seldom.
bool looks(uint32_t group) { return group == 1 || group == 7 || group == 31 || group % 128 == 127; }

// Everything that a call's time depends on, in 64 bits, not 0.
uint64_t problem_of(Pass pass, const Kernels* kernels, const Plan& plan) {
  const Extent& e = plan.extent;
  uint64_t hash = 0;
  for (uint64_t x : {(uint64_t)pass, (uint64_t)(uintptr_t)kernels, (uint64_t)plan.channels_last,
                     (uint64_t)plan.sums, (uint64_t)e.n, (uint64_t)e.c, (uint64_t)e.s,
                     (uint64_t)plan.arrays, (uint64_t)plan.workers(), (uint64_t)plan.whole}) {
    // Steele, Lea and Flood (2014): the finalizer of SplitMix64.
    hash = (hash ^ x) + 0x9e3779b97f4a7c15;
    hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
    hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
    hash ^= hash >> 31;
  }
  return std::max<uint64_t>(hash, 1);
}

struct Cell {
  std::atomic<uint64_t> problem{0};  // 0: free
  StoreTrials trials;
};

StoreTrials& trials_of(uint64_t problem, bool around) {
  constexpr uint64_t kCells = 1024, kNear = 8;
  static Cell cells[kCells];
  for (uint64_t i = 0; i < kNear; i++) {
    Cell& cell = cells[(problem + i) % kCells];
    uint64_t found = 0;
    bool is_new = cell.problem.compare_exchange_strong(found, problem);
    if (is_new) cell.trials.begin(around);
    if (is_new || found == problem) return cell.trials;
  }
  // All taken: the first is forgotten.
  Cell& cell = cells[problem % kCells];
  cell.problem = problem;
  cell.trials.begin(around);
  return cell.trials;
}

}  // namespace

StoreTrials::Call StoreTrials::next() {
  uint32_t call = calls_.fetch_add(1, std::memory_order_relaxed);
  bool around = around_.load(std::memory_order_relaxed);
  if (call % kGroup == kEnough && looks(call / kGroup)) {
    int64_t best = times_[0].load(std::memory_order_relaxed);
    for (uint32_t i = 1; i < kEnough; i++) {
      best = std::min(best, times_[i].load(std::memory_order_relaxed));
    }
    int64_t usual = usual_.load(std::memory_order_relaxed);
    if (best > usual + usual / 4) {
      other_.store(best, std::memory_order_relaxed);
      call += kGroup - kEnough;
      calls_.store(call + 1, std::memory_order_relaxed);
      return {around, 0};
    }
  }
  if (call > 0 && call % kGroup == 0) {
    int64_t took = median(), usual = usual_.load(std::memory_order_relaxed);
    int64_t other = other_.load(std::memory_order_relaxed);
    uint32_t next = call;
    if (!looks(call / kGroup - 1)) {
      // Slower than the other way was: it is time to look.
      if (other > 0 && took > other) next = kGroup;
      usual = took;
    } else if (took < usual) {
      around = !around;
      other = usual;
      next = 0;
    } else {
      other = took;
    }
    around_.store(around, std::memory_order_relaxed);
    usual_.store(usual, std::memory_order_relaxed);
    other_.store(other, std::memory_order_relaxed);
    if (next != call) calls_.store(next + 1, std::memory_order_relaxed);
    call = next;
  }
  return {around != looks(call / kGroup), call % kGroup};
}

void StoreTrials::took(const Call& call, int64_t nanoseconds) {
  times_[call.place].store(nanoseconds, std::memory_order_relaxed);
}

int64_t StoreTrials::median() const {
  int64_t times[kGroup];
  for (uint32_t i = 0; i < kGroup; i++) times[i] = times_[i].load(std::memory_order_relaxed);
  // The lower one, so that four calls may be without the caches they will find later.
  int64_t* middle = times + kGroup / 2 - 1;
  std::nth_element(times, middle, times + kGroup);
  return *middle;
}

void StoreTrials::begin(bool around) {
  // Around is only told where it is likely, so the first look is left out.
  calls_ = around ? 2 * kGroup : 0;
  for (std::atomic<int64_t>& time : times_) time = 0;
  around_ = around;
  usual_ = other_ = 0;
}

StoreChoice::StoreChoice(Pass pass, const Kernels* kernels, const Plan& plan, bool possible) {
  if (!possible || !plan.beyond_l2()) return;
  // Beyond a last-level cache around is the likely way, and with few calls what counts.
  trials_ = &trials_of(problem_of(pass, kernels, plan), plan.beyond_l3());
  call_ = trials_->next();
  start_ = std::chrono::steady_clock::now();
}

StoreChoice::~StoreChoice() {
  if (trials_ == nullptr) return;
  trials_->took(call_, std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count());
}

}  // namespace bn
