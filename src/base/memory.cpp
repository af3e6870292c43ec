// Aligned memory.
#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace hussar {

size_t physical_memory() {
  static const size_t kBytes = [] {
    long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(page) : size_t{1} << 40;
  }();
  return kBytes;
}

std::byte* allocate_aligned(size_t bytes) {
  constexpr size_t kAlignment = 64;
  if (bytes > physical_memory()) throw std::bad_alloc();
  size_t size = std::max((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  void* memory = std::aligned_alloc(kAlignment, size);
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

void FreeAligned::operator()(std::byte* memory) const { std::free(memory); }

}  // namespace hussar
