// What the stand-ins for NVIDIA's libraries share: numbers, and work that the emulated device does when it comes to it.
// Their entry points are those of the real ones; what they are asked wrongly they refuse.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define FAKE_ENTRY extern "C" __attribute__((visibility("default")))

// Who enqueues for a stream of the emulated device.
using FakeEnqueue = void (*)(void* stream, const std::function<void()>& work);
inline FakeEnqueue fake_enqueue = nullptr;
FAKE_ENTRY void hussar_fake_enqueue_with(FakeEnqueue enqueue);

enum class FakeType { kFloat, kHalf, kBFloat };

inline size_t fake_size(FakeType type) { return type == FakeType::kFloat ? 4 : 2; }

inline float fake_load(const void* data, int64_t index, FakeType type) {
  const auto* bytes = static_cast<const char*>(data) + index * static_cast<int64_t>(fake_size(type));
  float value = 0;
  if (type == FakeType::kHalf) {
    _Float16 half;
    std::memcpy(&half, bytes, 2);
    return static_cast<float>(half);
  }
  std::memcpy(reinterpret_cast<char*>(&value) + (type == FakeType::kFloat ? 0 : 2), bytes, fake_size(type));
  return value;
}

inline void fake_store(void* data, int64_t index, FakeType type, float value) {
  auto* bytes = static_cast<char*>(data) + index * static_cast<int64_t>(fake_size(type));
  if (type == FakeType::kHalf) {
    const auto half = static_cast<_Float16>(value);
    std::memcpy(bytes, &half, 2);
    return;
  }
  if (type == FakeType::kBFloat) {
    uint32_t word;
    std::memcpy(&word, &value, 4);
    word += 0x7fff + (word >> 16 & 1);
    std::memcpy(&value, &word, 4);
  }
  std::memcpy(bytes, reinterpret_cast<char*>(&value) + (type == FakeType::kFloat ? 0 : 2), fake_size(type));
}

inline bool fake_is_aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}
