// Layout: how the elements of a tensor lie in memory. The logical dimension order never changes.
#pragma once
#include <cstdint>

namespace hussar {

// Stored in plans: append only.
enum class Layout : uint8_t {
  kPlain = 0,         // row-major in logical order
  kChannelsLast = 1,  // logical N,C,D1..Dk stored as N,D1..Dk,C
};

}  // namespace hussar
