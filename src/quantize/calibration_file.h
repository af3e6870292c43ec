// The file form of a Calibration: JSON, versioned, with the histograms (docs/calibration_format.md).
#pragma once
#include <string>
#include <string_view>

#include "hussar/status.h"
#include "quantize/calibration.h"

namespace hussar {

std::string encode_calibration(const Calibration& calibration);
// `name` is for messages. Every figure is checked against the others.
Result<Calibration> decode_calibration(std::string_view text, const std::string& name);

// Under a temporary name, then renamed.
Status write_calibration(const Calibration& calibration, const std::string& path);
Result<Calibration> read_calibration(const std::string& path);

}  // namespace hussar
