#include "tensor/finite.h"

#include <algorithm>

namespace hussar {

bool are_finite(std::span<const float> values) {
  // Zero times what is not finite is NaN, which stays in a sum. Several at a time, so that compilers vectorise.
  constexpr size_t kTogether = 16;
  float zeros[kTogether] = {};
  size_t i = 0;
  for (; i + kTogether <= values.size(); i += kTogether) {
    for (size_t k = 0; k < kTogether; ++k) zeros[k] += values[i + k] * 0.0F;
  }
  for (; i < values.size(); ++i) zeros[0] += values[i] * 0.0F;
  return std::all_of(zeros, zeros + kTogether, [](float zero) { return zero == 0; });
}

}  // namespace hussar
