// Whether floats are finite, at the speed of memory.
#pragma once
#include <span>

namespace hussar {

bool are_finite(std::span<const float> values);

}  // namespace hussar
