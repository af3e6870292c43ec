// judge_methods: for every tensor that products read, what the range of each method does to the outputs of these.
#pragma once
#include <vector>

#include "compile/product_samples.h"
#include "quantize/calibration.h"

namespace hussar {

// Fills TensorCalibration::output_errors.
//
// The rows are few, and what is clipped may be rare: what the histogram of all samples says that clipping costs beyond
// what is seen in the rows counts as errors of independent elements.
void judge_methods(const std::vector<ProductSamples>& products, Calibration& calibration);

}  // namespace hussar
