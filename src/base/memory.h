// Aligned memory whose size is checked, and the border that exceptions do not cross.
#pragma once
#include <cstddef>
#include <exception>
#include <memory>
#include <new>

#include "base/error.h"

namespace hussar {

// The bytes of physical memory of this machine. Anything larger can only come from a broken or hostile file.
size_t physical_memory();

// 64-byte aligned, at least 64 bytes, freed with std::free. Throws std::bad_alloc, also when `bytes` is more than the
// machine has: memory that is promised and not there ends the process later, without a message.
std::byte* allocate_aligned(size_t bytes);

struct FreeAligned {
  void operator()(std::byte* memory) const;
};
using AlignedMemory = std::unique_ptr<std::byte, FreeAligned>;

// Memory with 64-byte alignment that only grows.
class GrowingBuffer {
 public:
  // Contents are lost when it grows.
  std::byte* reserve(size_t bytes);
  // The first `used` bytes are kept. Grows by so much that adding a little often costs little.
  std::byte* extend(size_t used, size_t bytes);
  std::byte* data() const { return memory_.get(); }
  size_t capacity() const { return capacity_; }

 private:
  AlignedMemory memory_;
  size_t capacity_ = 0;
};

// Memory of whole pages that grows without being copied. What has not been written takes none.
class GrowingPages {
 public:
  GrowingPages() = default;
  ~GrowingPages();
  GrowingPages(const GrowingPages&) = delete;
  GrowingPages& operator=(const GrowingPages&) = delete;
  // What is new is zero. The data may move. Throws std::bad_alloc as allocate_aligned does.
  void resize(size_t bytes);
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

// Gives memory that was freed, but that the allocator keeps, back to the system: after work that took much of it.
void trim_heap();

// Calls a function that returns a Result and turns what it throws into an Error. For the outermost functions of the
// library: inside, only the standard library throws, when memory runs out.
template <class Function>
auto catching(const char* what, Function&& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kRunFailed, "not enough memory to {}: its tensors are too large for this machine", what);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kRunFailed, "cannot {}: {}", what, error.what());
  }
}

}  // namespace hussar
