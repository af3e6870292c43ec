// INT8 in the public interfaces: from what a program asks for to what the compiler is told.
#pragma once
#include <string>

#include "compile/compile.h"
#include "hussar/status.h"

namespace hussar {

// As Int8Options in hussar/compile.h.
struct Int8Request {
  std::string calibration, calibration_file;
  std::string method = "auto";
  bool dynamic = false, strict = false, fp8 = false;
};

// Into the options, whose fp32_nodes are settled.
Status apply_int8(const std::string& model_path, const Int8Request& request, CompileOptions& options);

}  // namespace hussar
