// Scratch memory of a call, cut from one block that each calling thread keeps and that only grows:
// what is per channel and, for each worker, some tens of KB or a share of its L2. Steady state
// allocates nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bn {

// An array that a call needs: how large it is, and where its address goes.
struct Scratch {
  void** address;
  int64_t bytes;
};

// The calling thread's block, of so many bytes at least, aligned to 64; null if there is no memory.
char* scratch_block(size_t bytes);

// Places for all arrays of a call, each aligned to 64 bytes, until the thread's next call of this.
// False if there is no memory.
template <size_t n>
bool take_scratch(const Scratch (&arrays)[n]) {
  // Whole lines, and a few more: arrays of whole pages would begin alike and share sets of the L1
  // (docs/performance.md, lesson 40).
  auto place = [](int64_t bytes) { return ((size_t)bytes + 63) / 64 * 64 + 5 * 64; };
  size_t all = 0;
  for (const Scratch& array : arrays) all += place(array.bytes);
  char* next = scratch_block(all);
  if (next == nullptr) return false;
  for (const Scratch& array : arrays) {
    *array.address = next;
    next += place(array.bytes);
  }
  return true;
}

}  // namespace bn
