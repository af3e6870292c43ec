// The flags of INT8 and FP8: --int8, --fp8, --calib and what goes with them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "compile/compile.h"
#include "hussar/status.h"
#include "quantize/calibration.h"
#include "tools/cli/command.h"
#include "tools/cli/console.h"

namespace hussar::cli {

class Int8Flags {
 public:
  void declare(Command& command);
  // Calibrates where that is needed. Into the options, whose shapes, threads and other precisions are settled.
  Status apply(const std::string& model, Progress& progress, CompileOptions& options);
  // Either of them.
  bool quantizes() const { return int8_ || fp8_; }
  bool int8() const { return int8_; }
  // Of the data, each for the model's inputs in their order; empty where there are no data.
  Result<std::vector<std::vector<Tensor>>> first_samples(const std::string& model, const NamedShapes& shapes,
                                                         size_t most) const;
  // What apply() decided the ranges by; nothing with --dynamic.
  const Calibration& calibration() const { return calibration_; }

 private:
  Status check_usage(bool has_lower_floats) const;
  Status check_known(const Calibration& known, Graph imported, const NamedShapes& shapes, Progress& progress) const;
  Result<std::unique_ptr<DataSource>> open_data(const std::vector<InputFacts>& inputs, const NamedShapes& shapes) const;

  bool int8_ = false, fp8_ = false, strict_ = false, dynamic_ = false;
  std::string data_, cache_, method_ = "auto", rounding_, preprocess_;
  int batch_ = 1;
  Calibration calibration_;
};

}  // namespace hussar::cli
