// What FP8 makes of a permission for INT8, and where there is such a thing.
#pragma once
#include <memory>

#include "hussar/status.h"
#include "passes/pass.h"

namespace hussar {

// The same permission for FP8: ranges are symmetric, and the largest magnitude becomes that of FP8. What a calibration
// found about the integers of weights and about biases holds for INT8 only.
std::shared_ptr<Quantization> in_fp8(const Quantization& quantization);
// Refuses FP8 for targets that have none.
Status check_fp8_target(Place place, int sm);

}  // namespace hussar
