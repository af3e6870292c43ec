// Where work is done.
#pragma once
#include <cstdint>

namespace hussar {

enum class Place : uint8_t {
  kHost,    // the CPU
  kDevice,  // a GPU with memory of its own
};

}  // namespace hussar
