// bn_alloc and bn_free: zeroed, aligned memory for tensors.
#include <cstdlib>
#include <cstring>

#include "batchnorm4j.h"
#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{1} << 21;

}  // namespace

int64_t bn_alloc(int64_t bytes) {
  if (bytes <= 0 || bytes > (int64_t{1} << 46)) return 0;
  size_t align = (size_t)bytes >= kHugePage ? kHugePage : kLine;
  size_t size = ((size_t)bytes + kLine - 1) / kLine * kLine;
#if defined(_WIN32)
  void* p = _aligned_malloc(size, align);
#else
  void* p = nullptr;
  if (posix_memalign(&p, align, size) != 0) p = nullptr;
#endif
  if (p == nullptr) return 0;
#if defined(__linux__)
  // Fewer TLB misses where rows lie pages apart; only a hint, so its failure is none.
  if (align == kHugePage) (void)madvise(p, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  std::memset(p, 0, size);
  return (int64_t)(intptr_t)p;
}

void bn_free(int64_t address) {
#if defined(_WIN32)
  _aligned_free((void*)(intptr_t)address);
#else
  std::free((void*)(intptr_t)address);
#endif
}
