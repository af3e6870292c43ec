// The options of the C interface: a JSON object (RFC 8259).
#pragma once
#include <optional>
#include <string>

#include "api/int8_options.h"
#include "compile/compile.h"
#include "compile/self_check.h"
#include "hussar/status.h"

namespace hussar {

struct BuildOptions {
  CompileOptions compile;
  SelfCheckOptions check;
  std::optional<Int8Request> int8;
  std::string timing_cache;  // a file; "": none
};

// text: null, or an object with any of "shapes" (string), "threads" (integer), "target" (string), "fp16", "bf16" and
// "tf32" (booleans), "fp32_nodes" and "disable_passes" (lists of strings), "int8" (an object with any of "calibration",
// "calibration_file" and "method" (strings), "dynamic" and "strict" (booleans)), "libraries" ("off", "on", "only"),
// "self_check" ("off", "quick", "full"), "tolerance" (number), "budget" (string, "10s" by default), "timing_cache"
// (string). Anything else is an error.
Result<BuildOptions> parse_build_options(const char* text);

}  // namespace hussar
