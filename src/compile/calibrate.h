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

// What CalibrateOptions::progress is told when samples begin to be counted.
inline constexpr std::string_view kCountingStage = "run";

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
  // Asked between runs while samples are counted: true ends that with kInterrupted, and what was counted is saved.
  std::function<bool()> is_interrupted;
  std::function<void(std::string_view stage)> progress;
  std::function<void(double fraction)> stage_progress;
};

struct CalibrateReport {
  int64_t resumed_samples = 0, left_out_samples = 0;
  double seconds = 0;
  // What the user should know: few samples, suspicious data.
  std::vector<std::string> warnings;
};

// What the data of a calibration are known by: Calibration::samples and data_hash.
struct DataFingerprint {
  int64_t samples = 0;
  std::string hash;
};
// Reads all data, without running anything.
Result<DataFingerprint> fingerprint_of(DataSource& data, const std::vector<InputFacts>& inputs, const CutOptions& cut);
// Fails unless the calibration was made with these data. `path` is for the message.
Status check_is_of_data(const Calibration& calibration, const DataFingerprint& data, const std::string& path);

// What is counted: every input of the model, what convolutions and products with constant weights read and what they
// give. The result is the same bit by bit for any order and any cut of the data as long as runs take as many samples.
Result<Calibration> calibrate(const std::string& model_path, DataSource& data, const CalibrateOptions& options,
                              CalibrateReport* report = nullptr);

}  // namespace hussar
