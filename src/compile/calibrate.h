// calibrate: a model and data -> Calibration. One pass over the data in FP32, whatever their number.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "compile/compile.h"
#include "quantize/calibration.h"

namespace hussar {

// Fewer samples are refused: the ranges would be those of single inputs.
inline constexpr int64_t kFewestSamples = 8;
// Fewer give ranges that more data would change.
inline constexpr int64_t kUsualSamples = 100;

struct CalibrateOptions {
  NamedShapes shapes;  // as CompileOptions::shapes
  int threads = 0;
  int isa = -1;
  Method method = Method::kAuto;
  Rounding rounding = Rounding::kNearest;
  CutOptions cut;
  int64_t fewest_samples = kFewestSamples;
  // An incomplete calibration of the same model and data: its samples are read again, but not run.
  std::optional<Calibration> resume;
  // Called now and then, and before a failure is returned, with what was counted so far.
  std::function<Status(const Calibration&)> save;
  double save_seconds = 10;
  std::function<void(std::string_view stage)> progress;
  std::function<void(double fraction)> stage_progress;
};

struct CalibrateReport {
  int64_t resumed_samples = 0, left_out_samples = 0;
  double seconds = 0;
  // What the user should know: few samples, suspicious data.
  std::vector<std::string> warnings;
};

// What is counted: every input of the model, what convolutions and products with constant weights read and what they
// give. The result is the same bit by bit for any order and any cut of the data as long as runs take as many samples.
Result<Calibration> calibrate(const std::string& model_path, DataSource& data, const CalibrateOptions& options,
                              CalibrateReport* report = nullptr);

}  // namespace hussar
