// smooth: whether what products read had better be divided per channel.
#pragma once
#include <vector>

#include "compile/product_samples.h"
#include "quantize/calibration.h"

namespace hussar {

// Fills Calibration::smoothings where the products that read the value give outputs that are better by more than a
// twentieth than with its decided range. Divisors are |x|^alpha / |w|^(1 - alpha) of the largest magnitudes per
// channel, for the best alpha in tenths.
void smooth(const Graph& graph, const std::vector<ProductSamples>& products, Calibration& calibration);

}  // namespace hussar
