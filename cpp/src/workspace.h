// Scratch memory of a call, cut from one block that each calling thread keeps and that only grows:
// what is per channel and, for each worker, some tens of KB or a share of its L2. Steady state
// allocates nothing.
#pragma once
#include <cstdint>
#include <initializer_list>

namespace bn {

// An array that a call needs: how large it is, and where its address goes.
struct Scratch {
  void** address;
  int64_t bytes;
};

// Places for all arrays of a call, each aligned to 64 bytes, until the thread's next call of this.
// False if there is no memory.
bool take_scratch(std::initializer_list<Scratch> arrays);

}  // namespace bn
