// correct_biases: quantized products whose outputs keep their means.
#pragma once
#include <vector>

#include "compile/product_samples.h"
#include "quantize/calibration.h"

namespace hussar {

// Fills Calibration::products, but for the flips, for the ranges, smoothings and flips that were decided. The mean
// error that one half of the samples shows must make the error of the other half less, and the other way round: else
// there is no correction.
void correct_biases(const std::vector<ProductSamples>& products, Calibration& calibration);

}  // namespace hussar
