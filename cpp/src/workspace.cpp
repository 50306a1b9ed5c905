#include "workspace.h"

#include <cstdlib>
#include <new>

namespace bn {
namespace {

struct Block {
  char* memory;
  size_t size;
};

// Nothing to construct, so that to use it costs one look-up, not a second one for whether it is.
thread_local Block t_block;

void release() {
  if (t_block.memory != nullptr) ::operator delete (t_block.memory, std::align_val_t{64});
  t_block = {nullptr, 0};
}

// Gives the block back when its thread ends.
struct Owner {
  bool owns = false;
  ~Owner() { release(); }
};
thread_local Owner t_owner;

bool grow(size_t wanted) {
  t_owner.owns = true;
  release();
  void* memory = ::operator new (wanted, std::align_val_t{64}, std::nothrow);
  if (memory == nullptr) return false;
  t_block = {static_cast<char*>(memory), wanted};
  return true;
}

}  // namespace

bool Workspace::reserve() {
  Block* block = &t_block;
  if (block->size < planned_ && !grow(planned_)) return false;
  base_ = block->memory;
  return true;
}

}  // namespace bn
