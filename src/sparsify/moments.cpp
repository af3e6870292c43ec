#include "sparsify/moments.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace hussar {
namespace {

// Only what lies on or above the diagonal of X' X is computed, in strips of so many rows.
constexpr int64_t kStrip = 512;

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

void mirror(std::vector<float>& h, int64_t k) {
  constexpr int64_t kTile = 32;
  for (int64_t row = 0; row < k; row += kTile) {
    for (int64_t column = 0; column <= row; column += kTile) {
      for (int64_t i = row; i < std::min(row + kTile, k); ++i) {
        for (int64_t j = column; j < std::min(column + kTile, i); ++j)
          h[static_cast<size_t>(i * k + j)] = h[static_cast<size_t>(j * k + i)];
      }
    }
  }
}

// m -= a b' / rows
void subtract_outer(std::vector<float>& m, const std::vector<double>& a, const std::vector<double>& b, int64_t rows) {
  for (size_t i = 0; i < a.size(); ++i) {
    const double factor = a[i] / static_cast<double>(rows);
    for (size_t j = 0; j < b.size(); ++j) m[i * b.size() + j] = static_cast<float>(m[i * b.size() + j] - factor * b[j]);
  }
}

template <class T>
std::vector<T> reorder_list(const std::vector<T>& list, const std::vector<int32_t>& order) {
  if (order.empty()) return list;
  std::vector<T> result;
  for (int32_t from : order) result.push_back(list[static_cast<size_t>(from)]);
  return result;
}

std::vector<float> reorder_matrix(const std::vector<float>& matrix, int64_t columns,
                                  const std::vector<int32_t>& row_order, const std::vector<int32_t>& column_order) {
  std::vector<float> result(matrix.size());
  const int64_t rows = static_cast<int64_t>(matrix.size()) / columns;
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = matrix.data() + (row_order.empty() ? i : row_order[static_cast<size_t>(i)]) * columns;
    float* to = result.data() + i * columns;
    for (int64_t j = 0; j < columns; ++j) to[j] = from[column_order.empty() ? j : column_order[static_cast<size_t>(j)]];
  }
  return result;
}

}  // namespace

MomentsBuilder::MomentsBuilder(int64_t k, int64_t n, MatrixProduct product) : product_(std::move(product)) {
  moments_.k = k;
  moments_.n = n;
  moments_.h.resize(static_cast<size_t>(k * k));
  moments_.p.resize(static_cast<size_t>(k * n));
  moments_.x_sum.resize(static_cast<size_t>(k));
  moments_.y_sum.resize(static_cast<size_t>(n));
  moments_.y_squared.resize(static_cast<size_t>(n));
}

void MomentsBuilder::add(const float* x, int64_t x_stride, const float* y, int64_t y_stride, int64_t rows) {
  const int64_t k = moments_.k, n = moments_.n;
  for (int64_t first = 0; first < k; first += kStrip) {
    float* h = moments_.h.data() + first * k + first;
    product_({std::min(kStrip, k - first), k - first, rows, x + first, x_stride, x + first, x_stride, h, k});
  }
  product_({k, n, rows, x, x_stride, y, y_stride, moments_.p.data(), n});
  for (int64_t row = 0; row < rows; ++row) {
    const float *x_row = x + row * x_stride, *y_row = y + row * y_stride;
    for (int64_t i = 0; i < k; ++i) moments_.x_sum[static_cast<size_t>(i)] += x_row[i];
    for (int64_t i = 0; i < n; ++i) {
      moments_.y_sum[static_cast<size_t>(i)] += y_row[i];
      moments_.y_squared[static_cast<size_t>(i)] += double(y_row[i]) * y_row[i];
    }
  }
  moments_.rows += rows;
}

Result<LayerMoments> MomentsBuilder::take() {
  HUSSAR_CHECK(moments_.rows > 0, ErrorCode::kUsage, "no rows of data: pruning with data needs some samples");
  mirror(moments_.h, moments_.k);
  HUSSAR_CHECK(all_finite(moments_.h), ErrorCode::kUsage,
               "inputs of the layer are infinite or NaN, or so large that their squares are: check the data");
  const bool finite = std::all_of(moments_.y_squared.begin(), moments_.y_squared.end(),
                                  [](double square) { return std::isfinite(square); });
  HUSSAR_CHECK(finite && all_finite(moments_.p), ErrorCode::kUsage,
               "outputs of the layer are infinite or NaN, or their products with its inputs are: check the data");
  return std::move(moments_);
}

void centre(LayerMoments& moments) {
  subtract_outer(moments.h, moments.x_sum, moments.x_sum, moments.rows);
  subtract_outer(moments.p, moments.x_sum, moments.y_sum, moments.rows);
  for (size_t i = 0; i < moments.y_squared.size(); ++i) {
    const double mean_square = moments.y_sum[i] * moments.y_sum[i] / static_cast<double>(moments.rows);
    moments.y_squared[i] = std::max(0.0, moments.y_squared[i] - mean_square);
  }
  // What rounding leaves of an input that never changes.
  for (int64_t i = 0; i < moments.k; ++i) {
    float& square = moments.h[static_cast<size_t>(i * moments.k + i)];
    square = std::max(square, 0.0F);
  }
}

LayerMoments reorder(const LayerMoments& moments, const std::vector<int32_t>& columns,
                     const std::vector<int32_t>& rows) {
  LayerMoments result;
  result.k = moments.k;
  result.n = moments.n;
  result.rows = moments.rows;
  result.h = reorder_matrix(moments.h, moments.k, columns, columns);
  result.p = reorder_matrix(moments.p, moments.n, columns, rows);
  result.x_sum = reorder_list(moments.x_sum, columns);
  result.y_sum = reorder_list(moments.y_sum, rows);
  result.y_squared = reorder_list(moments.y_squared, rows);
  return result;
}

}  // namespace hussar
