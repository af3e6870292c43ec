// Aligned memory.
#include "base/memory.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

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

std::byte* GrowingBuffer::reserve(size_t bytes) {
  if (bytes > capacity_ || memory_ == nullptr) {
    memory_.reset();
    capacity_ = 0;
    memory_.reset(allocate_aligned(bytes));
    capacity_ = bytes;
  }
  return memory_.get();
}

std::byte* GrowingBuffer::extend(size_t used, size_t bytes) {
  if (bytes <= capacity_ && memory_ != nullptr) return memory_.get();
  const size_t capacity = std::max(bytes, 2 * capacity_);
  AlignedMemory larger(allocate_aligned(capacity));
  if (used > 0) std::memcpy(larger.get(), memory_.get(), used);
  memory_ = std::move(larger);
  capacity_ = capacity;
  return memory_.get();
}

GrowingPages::~GrowingPages() {
  if (data_ != nullptr) ::munmap(data_, capacity_);
}

void GrowingPages::resize(size_t bytes) {
  if (bytes > physical_memory()) throw std::bad_alloc();
  if (bytes > capacity_) {
    constexpr size_t kLeast = size_t(1) << 16;
    const size_t pages = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t capacity = (std::max({bytes, 2 * capacity_, kLeast}) + pages - 1) / pages * pages;
    void* memory = data_ == nullptr
                       ? ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                       : ::mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(memory);
    capacity_ = capacity;
  }
  size_ = bytes;
}

void trim_heap() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace hussar
