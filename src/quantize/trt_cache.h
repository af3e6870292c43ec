// Calibration caches of TensorRT: text, one line per tensor.
//
//   TRT-8601-EntropyCalibration2
//   input: 3caa1c25
//
// The digits are the bits of a float: the scale, so that the range is -127 * scale to 127 * scale. Names may hold ": ".
#pragma once
#include <string>
#include <string_view>

#include "hussar/status.h"
#include "quantize/calibration.h"

namespace hussar {

// A Calibration of ranges alone. `name` is for messages.
Result<Calibration> decode_trt_cache(std::string_view text, const std::string& name);
// The ranges of symmetric int8 by `method`.
std::string encode_trt_cache(const Calibration& calibration, Method method);

Result<Calibration> read_trt_cache(const std::string& path);
// Under a temporary name, then renamed.
Status write_trt_cache(const Calibration& calibration, Method method, const std::string& path);

}  // namespace hussar
