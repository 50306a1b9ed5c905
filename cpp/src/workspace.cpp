#include "workspace.h"

#include <cstdlib>
#include <new>

namespace bn {
namespace {

struct Block {
  char* memory = nullptr;
  size_t size = 0;

  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { release(); }

  bool grow(size_t wanted) {
    if (wanted <= size) return true;
    release();
    memory = static_cast<char*>(::operator new (wanted, std::align_val_t{64}, std::nothrow));
    if (memory == nullptr) return false;
    size = wanted;
    return true;
  }

  void release() {
    if (memory != nullptr) ::operator delete (memory, std::align_val_t{64});
    memory = nullptr;
    size = 0;
  }
};

thread_local Block t_block;

}  // namespace

bool Workspace::reserve() {
  if (!t_block.grow(planned_)) return false;
  base_ = t_block.memory;
  return true;
}

}  // namespace bn
