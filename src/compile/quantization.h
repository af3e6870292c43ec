// From a calibration to what the passes are told.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "passes/pass.h"
#include "quantize/calibration.h"

namespace hussar {

// Why nodes stay in floats that the user named.
inline constexpr const char* kAskedFor = "asked for";

// With the ranges of this method, and what the calibration found to make products more exact. Nodes with the names
// `fp32_nodes` stay in floats.
std::shared_ptr<Quantization> quantization_of(const Calibration& calibration, Method method,
                                              const std::vector<std::string>& fp32_nodes = {});

// Without a calibration: every range is found when the model runs.
std::shared_ptr<Quantization> dynamic_quantization(const std::vector<std::string>& fp32_nodes = {},
                                                   bool row_scales = false);

// The same as in_fp8() makes it. kAuto are the least and the greatest element: steps of FP8 grow with the numbers, so
// that nothing is gained by cutting off the largest.
std::shared_ptr<Quantization> fp8_quantization_of(const Calibration& calibration, Method method,
                                                  const std::vector<std::string>& fp32_nodes = {});

// A text of Hussar or of TensorRT. `name` is for messages.
Result<Calibration> decode_calibration_or_trt_cache(std::string_view text, const std::string& name);

}  // namespace hussar
