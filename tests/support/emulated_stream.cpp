// Memory by its addresses.
#include "tests/support/emulated_stream.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace hussar::tests {

std::byte* EmulatedMemory::allocate(size_t bytes, Residence residence) {
  constexpr size_t kPage = 4096;
  bytes = (bytes + kPage - 1) / kPage * kPage + (bytes == 0 ? kPage : 0);
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) std::abort();
  auto* memory = static_cast<std::byte*>(mapped);
  std::memset(memory, 0xC5, bytes);  // who reads what nobody has written shall see it
  std::lock_guard lock(mutex_);
  blocks_[memory] = {bytes, residence};
  if (working_ == 0) protect();
  return memory;
}

// Who uses it still ends the process, too.
void EmulatedMemory::release(std::byte* memory) {
  std::lock_guard lock(mutex_);
  auto it = blocks_.find(memory);
  if (it == blocks_.end()) std::abort();  // nobody's, or given back twice
  ::munmap(memory, it->second.bytes);
  blocks_.erase(it);
}

void EmulatedMemory::open() {
  std::lock_guard lock(mutex_);
  if (working_++ == 0) protect();
}

void EmulatedMemory::close() {
  std::lock_guard lock(mutex_);
  if (--working_ == 0) protect();
}

void EmulatedMemory::protect() {
  for (const auto& [memory, block] : blocks_) {
    if (block.residence.device < 0) continue;
    ::mprotect(const_cast<std::byte*>(memory), block.bytes, working_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

Residence EmulatedMemory::residence(const std::byte* memory) {
  std::lock_guard lock(mutex_);
  auto it = blocks_.upper_bound(memory);
  if (it == blocks_.begin()) return {};
  --it;
  return memory < it->first + it->second.bytes ? it->second.residence : Residence();
}

EmulatedMemory& emulated_memory() {
  static auto* memory = new EmulatedMemory;  // pinned tensors may outlive static objects
  return *memory;
}

}  // namespace hussar::tests
