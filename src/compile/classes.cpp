#include "compile/classes.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/convert.h"

namespace hussar {

int64_t class_count(const Tensor& output) {
  const int rank = output.shape().rank();
  return rank > 0 ? output.shape()[rank - 1] : 0;
}

std::vector<int64_t> classes_of(const Tensor& output) {
  const int64_t width = class_count(output);
  if (width < 2 || !is_floating(output.dtype())) return {};
  std::vector<float> values(static_cast<size_t>(output.elements()));
  if (!values.empty()) load_elements<float>(output, 0, output.elements(), values.data());
  std::vector<int64_t> classes;
  for (auto row = values.begin(); row != values.end(); row += width) {
    classes.push_back(std::max_element(row, row + width) - row);
  }
  return classes;
}

Status check_labels(std::span<const int64_t> labels, int64_t rows, int64_t width) {
  HUSSAR_CHECK(std::ssize(labels) == rows, ErrorCode::kUsage,
               "labels need a first output with one row of classes per sample; it has {} rows for {} samples", rows,
               labels.size());
  for (int64_t label : labels) {
    HUSSAR_CHECK(label >= 0 && label < width, ErrorCode::kUsage,
                 "label {} is no class: the first output has classes 0 to {}", label, width - 1);
  }
  return {};
}

}  // namespace hussar
