// What the stand-ins for NVIDIA's libraries share: numbers, and work that the emulated device does when it comes to it.
// Their entry points are those of the real ones; what they are asked wrongly they refuse.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define FAKE_ENTRY extern "C" __attribute__((visibility("default")))

// Who enqueues for a stream of the emulated device.
using FakeEnqueue = void (*)(void* stream, const std::function<void()>& work);
inline FakeEnqueue fake_enqueue = nullptr;
FAKE_ENTRY void hussar_fake_enqueue_with(FakeEnqueue enqueue);

enum class FakeType { kFloat, kHalf, kBFloat, kByte, kFloat8 };  // kByte: with a sign; kFloat8: e4m3

// Of a cudaDataType.
inline FakeType fake_type(int type) {
  return type == 2    ? FakeType::kHalf
         : type == 14 ? FakeType::kBFloat
         : type == 3  ? FakeType::kByte
         : type == 28 ? FakeType::kFloat8
                      : FakeType::kFloat;
}

inline size_t fake_size(FakeType type) {
  if (type == FakeType::kByte || type == FakeType::kFloat8) return 1;
  return type == FakeType::kFloat ? 4 : 2;
}

inline float fake_load_float8(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

inline float fake_load(const void* data, int64_t index, FakeType type) {
  const auto* bytes = static_cast<const char*>(data) + index * static_cast<int64_t>(fake_size(type));
  float value = 0;
  if (type == FakeType::kByte) return static_cast<float>(static_cast<int8_t>(*bytes));
  if (type == FakeType::kFloat8) return fake_load_float8(static_cast<uint8_t>(*bytes));
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
