// Whether weights have a sparsity pattern.
#pragma once
#include <algorithm>
#include <cstdint>

#include "sparsify/pattern.h"

namespace hussar::tests {

// Weights [n][k]: of every four columns at most two have weights other than 0 in any of `shared_rows` rows that share a
// mask. Columns behind the last whole group fit anything.
inline bool fits_pattern(const float* weights, int64_t n, int64_t k, int64_t shared_rows = 1) {
  for (int64_t first = 0; first < n; first += shared_rows) {
    for (int64_t group = 0; group < k / kGroupColumns; ++group) {
      int64_t used = 0;
      for (int64_t i = group * kGroupColumns; i < (group + 1) * kGroupColumns; ++i) {
        bool is_used = false;
        for (int64_t row = first; row < std::min(first + shared_rows, n); ++row) is_used |= weights[row * k + i] != 0;
        used += is_used ? 1 : 0;
      }
      if (used > kKeptColumns) return false;
    }
  }
  return true;
}

}  // namespace hussar::tests
