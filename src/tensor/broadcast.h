// How an elementwise operand lies over an output that is seen as a matrix: rows x columns, columns being the last
// logical dimension (plain) or the channels (channels-last).
#pragma once
#include <cstdint>
#include <span>

#include "tensor/layout.h"

namespace hussar {

enum class Cover : uint8_t {
  kScalar,  // one element
  kColumn,  // one element per column
  kRow,     // one element per row
  kFull,    // one element per element
  kOther,   // anything else that broadcasting allows
};

// D is int64_t or Dim. The operand's dims are aligned to the right of the output's.
template <class D>
Cover cover_of(std::span<const D> output, std::span<const D> operand, Layout layout) {
  const D one(1);
  if (operand.size() > output.size()) return Cover::kOther;
  size_t shift = output.size() - operand.size();
  bool has_channels = layout == Layout::kChannelsLast && output.size() >= 2;
  size_t column = has_channels ? 1 : output.size() - 1;
  bool all_one = true, rest_one = true, all_equal = true, rest_equal = true;
  bool column_equal = output.empty(), column_one = true;
  for (size_t axis = 0; axis < output.size(); ++axis) {
    const D& have = axis < shift ? one : operand[axis - shift];
    bool is_one = have == one;
    bool is_equal = have == output[axis];
    if (!is_one && !is_equal) return Cover::kOther;
    all_one = all_one && is_one;
    all_equal = all_equal && is_equal;
    if (axis == column) {
      column_equal = is_equal;
      column_one = is_one;
    } else {
      rest_one = rest_one && is_one;
      rest_equal = rest_equal && is_equal;
    }
  }
  if (all_equal) return Cover::kFull;
  if (all_one) return Cover::kScalar;
  if (rest_one && column_equal) return Cover::kColumn;
  if (rest_equal && column_one) return Cover::kRow;
  return Cover::kOther;
}

// The operand's cover, or kOther where its layout does not fit. Over a single row layouts are the same: what covers it
// in another layout is one number per column.
template <class D>
Cover fitting_cover(std::span<const D> output, Layout layout, std::span<const D> operand, Layout operand_layout) {
  const Cover cover = cover_of<D>(output, operand, layout);
  if (cover != Cover::kFull || operand_layout == layout) return cover;
  const size_t column = layout == Layout::kChannelsLast && output.size() >= 2 ? 1 : output.size() - 1;
  for (size_t axis = 0; axis < output.size(); ++axis) {
    if (axis != column && !(output[axis] == D(1))) return Cover::kOther;
  }
  return Cover::kColumn;
}

}  // namespace hussar
