// Memory by its addresses.
#include "tests/support/emulated_stream.h"

#include <cstdlib>
#include <cstring>

namespace hussar::tests {

std::byte* EmulatedMemory::allocate(size_t bytes, Residence residence) {
  bytes = (bytes + 255) / 256 * 256 + (bytes == 0 ? 256 : 0);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(256, bytes));
  std::memset(memory, 0xC5, bytes);  // who reads what nobody has written shall see it
  std::lock_guard lock(mutex_);
  blocks_[memory] = {bytes, residence};
  return memory;
}

void EmulatedMemory::release(std::byte* memory) {
  std::lock_guard lock(mutex_);
  auto it = blocks_.find(memory);
  if (it == blocks_.end()) std::abort();        // nobody's, or given back twice
  std::memset(memory, 0xDD, it->second.bytes);  // who uses it still shall see that, too
  blocks_.erase(it);
  std::free(memory);
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
