// Random 2:4 weights.
#pragma once
#include <algorithm>

#include "tensor/shared_mask.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {

// Leaves random two of every four k, the same in all columns of a block of `width`; sometimes fewer.
template <class Number>
void make_sparse(const MatrixView<Number>& weights, int64_t width) {
  for (int64_t first = 0; first < weights.n; first += width) {
    const int64_t end = std::min(first + width, weights.n);
    for (int64_t group = 0; group < weights.k; group += 4) {
      int64_t places[4] = {0, 1, 2, 3};
      std::shuffle(places, places + 4, cpu::random_engine());
      const int64_t dropped = pick(0, 9) == 0 ? pick(2, 4) : 2;
      for (int64_t i = 0; i < dropped; ++i) {
        for (int64_t c = first; c < end; ++c) weights.row(group + places[i])[c * weights.column_stride] = Number{};
      }
    }
  }
}

}  // namespace hussar
