// The options of the C interface: a JSON object (RFC 8259).
#pragma once
#include "compile/compile.h"
#include "compile/self_check.h"
#include "hussar/status.h"

namespace hussar {

struct BuildOptions {
  CompileOptions compile;
  SelfCheckOptions check;
};

// text: null, or an object with any of "shapes" (string), "threads" (integer), "target" (string), "fp16" (boolean),
// "fp32_nodes" and "disable_passes" (lists of strings), "self_check" ("off", "quick", "full"), "tolerance" (number).
// Anything else is an error.
Result<BuildOptions> parse_build_options(const char* text);

}  // namespace hussar
