// Weights of which at most two of every four neighbouring k are not zero, at the same places in all columns of a block:
// "2:4x64" where a block has 64 columns, "2:4" where every column has places of its own.
#pragma once
#include <cstdint>
#include <vector>

#include "hussar/tensor.h"

namespace hussar {

// A matrix k x n, in runs of `run` rows: element (row, column) at
// data[row % run * row_stride + row / run * run_stride + column * column_stride].
template <class Number>
struct MatrixView {
  Number* data;
  int64_t k, n, row_stride, column_stride, run, run_stride;
  Number* row(int64_t index) const { return data + index % run * row_stride + index / run * run_stride; }
};

// An FP16 or BF16 number, as far as it matters here whether it is zero.
struct Half {
  uint16_t bits = 0;
  bool operator==(const Half& other) const { return bits == other.bits || ((bits | other.bits) & 0x7fff) == 0; }
};

// How the weights of a product lie: [k][n], [n][k], or [filter][channel][taps...] with k = (tap, channel).
enum class WeightForm : uint8_t { kMatrix, kTransposed, kFilter };
template <class Number>
MatrixView<Number> view_weights(Number* data, const Shape& shape, WeightForm form) {
  if (form == WeightForm::kMatrix) return {data, shape[0], shape[1], shape[1], 1, shape[0], 0};
  if (form == WeightForm::kTransposed) return {data, shape[1], shape[0], 1, shape[1], shape[1], 0};
  const int64_t taps = shape.elements(2, shape.rank());
  return {data, shape[1] * taps, shape[0], taps, shape[1] * taps, shape[1], 1};
}

// Of a group of four of which the bits tell what is not zero, at most two: the lower kept place in bits 0 and 1, the
// higher in bits 2 and 3. Where fewer than two are not zero, zeros are kept.
uint8_t kept_places(uint8_t nonzero);

constexpr int64_t kPanelOfMask = 16;  // blocks are made of panels of so many columns
constexpr int64_t kMostSharedPanels = 8;

struct SharedMask {
  int64_t panels = 0;  // of a block: 1, 2, 4 or 8; 0: no mask is shared by 16 columns
  // Of every block and group of four: kept_places. [blocks][k / 4]
  std::vector<uint8_t> places;
};
// The widest blocks that the weights allow. k must be a multiple of 4.
SharedMask find_shared_mask(const MatrixView<const float>& weights);
SharedMask find_shared_mask(const MatrixView<const Half>& weights);
SharedMask find_shared_mask(const MatrixView<const int8_t>& weights);
// Whether every column is 2:4, with a mask of its own or not.
bool is_two_of_four(const MatrixView<const float>& weights);
bool is_two_of_four(const MatrixView<const Half>& weights);
bool is_two_of_four(const MatrixView<const int8_t>& weights);

}  // namespace hussar
