// Scratch memory of a call, cut from one block that each calling thread keeps and that only grows:
// O(C) bytes and a few cache-sized tiles. Steady state allocates nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bn {

class Workspace {
 public:
  // Plans an array; the same sequence of plan() calls gives the same places in take().
  void plan(int64_t bytes) { planned_ += round(bytes); }

  // Makes room for everything planned. False if there is no memory.
  bool reserve();

  // The next array, in the order of planning, aligned to 64 bytes.
  void* take(int64_t bytes) {
    void* p = base_ + taken_;
    taken_ += round(bytes);
    return p;
  }

 private:
  // Whole lines, and a few more: arrays of whole pages would begin alike and share sets of the L1
  // (docs/performance.md, lesson 40).
  static size_t round(int64_t bytes) { return ((size_t)bytes + 63) / 64 * 64 + 5 * 64; }

  size_t planned_ = 0, taken_ = 0;
  char* base_ = nullptr;
};

}  // namespace bn
