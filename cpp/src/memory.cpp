// bn_alloc and bn_free: zeroed, aligned memory for tensors.
#include <atomic>
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
constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{1} << 21;

// Arrays less than this are in the L1 together, wherever they are.
constexpr size_t kLarge = size_t{16} << 10;

// What is at the same place of two pages shares a set of the L1, and a pass goes through its arrays
// side by side: so arrays begin at different places of a page, neighbours 24 lines apart and any
// eight in a row 8 (docs/performance.md, lesson 40).
size_t offset_in_page() {
  static std::atomic<size_t> arrays{0};
  constexpr size_t kGolden = 40, kLines = kPage / kLine;
  return arrays.fetch_add(1, std::memory_order_relaxed) * kGolden % kLines * kLine;
}

char* aligned_memory(size_t align, size_t size) {
#if defined(_WIN32)
  return (char*)_aligned_malloc(size, align);
#else
  void* p = nullptr;
  return posix_memalign(&p, align, size) == 0 ? (char*)p : nullptr;
#endif
}

void free_aligned(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

}  // namespace

int64_t bn_alloc(int64_t bytes) {
  if (bytes <= 0 || bytes > (int64_t{1} << 46)) return 0;
  size_t size = ((size_t)bytes + kLine - 1) / kLine * kLine;
  size_t align = size >= kHugePage ? kHugePage : size >= kLarge ? kPage : kLine;
  // A line before the array says what is to be freed.
  size_t before = kLine + (size >= kLarge ? offset_in_page() : 0);
  char* p = aligned_memory(align, before + size);
  if (p == nullptr) return 0;
#if defined(__linux__)
  // Fewer TLB misses where rows lie pages apart; only a hint, so its failure is none.
  if (align == kHugePage) (void)madvise(p, (before + size) / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  char* array = p + before;
  std::memcpy(array - kLine, &p, sizeof(p));
  std::memset(array, 0, size);
  return (int64_t)(intptr_t)array;
}

void bn_free(int64_t address) {
  if (address == 0) return;
  void* p = nullptr;
  std::memcpy(&p, (const char*)(intptr_t)address - kLine, sizeof(p));
  free_aligned(p);
}
