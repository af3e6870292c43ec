// The flags of INT8: --int8, --calib and what goes with them.
#pragma once
#include <memory>
#include <string>

#include "compile/compile.h"
#include "hussar/status.h"
#include "tools/cli/command.h"
#include "tools/cli/console.h"

namespace hussar::cli {

class Int8Flags {
 public:
  void declare(Command& command);
  // Calibrates where that is needed. Into the options, whose shapes and threads are settled.
  Status apply(const std::string& model, Progress& progress, CompileOptions& options) const;
  bool int8() const { return int8_; }
  // After the build: fails with --strict when a product that has an INT8 form stayed in FP32.
  Status check_strict(const CompileReport& report) const;

 private:
  Status check_usage() const;

  bool int8_ = false, strict_ = false;
  std::string data_, cache_, method_ = "auto", preprocess_;
  int batch_ = 1;
};

}  // namespace hussar::cli
