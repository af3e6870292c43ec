// From a calibration to what the passes are told.
#pragma once
#include <memory>

#include "passes/pass.h"
#include "quantize/calibration.h"

namespace hussar {

// With the ranges of this method, and what the calibration found to make products more exact.
std::shared_ptr<Quantization> quantization_of(const Calibration& calibration, Method method);

}  // namespace hussar
