// Classes: where the largest element of a row of a model's first output is.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {

// How many a row has.
int64_t class_count(const Tensor& output);
// Of every row; none where rows have fewer than two elements, or no floats.
std::vector<int64_t> classes_of(const Tensor& output);
// Whether labels can be those of an output with so many rows, of so many classes.
Status check_labels(std::span<const int64_t> labels, int64_t rows, int64_t width);

}  // namespace hussar
