// Matrix products in plain loops.
#pragma once
#include "ops/arithmetic.h"

namespace hussar {

// A matrix inside a tensor: element (row, column) is data[row * row_stride + column * column_stride].
template <class T>
struct MatrixView {
  const T* data;
  int64_t row_stride, column_stride;
};

// out[m][n] (row-major) = a[m][k] * b[k][n], accumulated wider than T.
template <class T, class Out>
void multiply_matrices(MatrixView<T> a, MatrixView<T> b, int64_t m, int64_t n, int64_t k, Out* out) {
  std::vector<Accumulator<T>> sums(static_cast<size_t>(n));
  for (int64_t row = 0; row < m; ++row) {
    std::fill(sums.begin(), sums.end(), Accumulator<T>(0));
    for (int64_t i = 0; i < k; ++i) {
      auto scale = static_cast<Accumulator<T>>(a.data[row * a.row_stride + i * a.column_stride]);
      const T* line = b.data + i * b.row_stride;
      for (int64_t column = 0; column < n; ++column) {
        sums[static_cast<size_t>(column)] += scale * static_cast<Accumulator<T>>(line[column * b.column_stride]);
      }
    }
    for (int64_t column = 0; column < n; ++column)
      out[row * n + column] = static_cast<Out>(sums[static_cast<size_t>(column)]);
  }
}

}  // namespace hussar
