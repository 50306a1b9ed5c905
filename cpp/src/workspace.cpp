#include "workspace.h"

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

// Gives the block back when its thread ends, of those that have used it: by then it is constructed.
struct Owner {
  bool used = false;
  ~Owner() { release(); }
};
thread_local Owner t_owner;

bool grow(size_t wanted) {
  t_owner.used = true;
  release();
  void* memory = ::operator new (wanted, std::align_val_t{64}, std::nothrow);
  if (memory == nullptr) return false;
  t_block = {static_cast<char*>(memory), wanted};
  return true;
}

}  // namespace

char* scratch_block(size_t bytes) {
  Block* block = &t_block;
  if (block->size < bytes && !grow(bytes)) return nullptr;
  return block->memory;
}

}  // namespace bn
