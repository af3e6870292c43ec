// The linker sends malloc, calloc, realloc and aligned_alloc here (--wrap).
#include "tests/support/allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace hussar::tests {

static std::atomic<int64_t> count{0};

#ifdef HUSSAR_COUNT_ALLOCATIONS
bool can_count_allocations() { return true; }
#else
bool can_count_allocations() { return false; }
#endif
int64_t allocation_count() { return count.load(); }

}  // namespace hussar::tests

#ifdef HUSSAR_COUNT_ALLOCATIONS

extern "C" {
void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_realloc(void* memory, size_t size);
void* __real_aligned_alloc(size_t alignment, size_t size);

void* __wrap_malloc(size_t size) {
  hussar::tests::count.fetch_add(1, std::memory_order_relaxed);
  return __real_malloc(size);
}
void* __wrap_calloc(size_t count, size_t size) {
  hussar::tests::count.fetch_add(1, std::memory_order_relaxed);
  return __real_calloc(count, size);
}
void* __wrap_realloc(void* memory, size_t size) {
  hussar::tests::count.fetch_add(1, std::memory_order_relaxed);
  return __real_realloc(memory, size);
}
void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  hussar::tests::count.fetch_add(1, std::memory_order_relaxed);
  return __real_aligned_alloc(alignment, size);
}
}

#endif

// GCC inlines the operators below and then takes their malloc and free for a mismatch.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// In sanitizer builds too: their own operator new ends the process when memory runs out, the library counts on an
// exception.
void* operator new(size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return std::malloc(size == 0 ? 1 : size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
