// The flags of `hussar calibrate` that ask which layer hurts: --sensitivity and what goes with it.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "compile/calibration_data.h"
#include "compile/label_check.h"
#include "compile/sensitivity.h"
#include "hussar/status.h"
#include "quantize/calibration.h"
#include "tools/cli/command.h"
#include "tools/cli/console.h"

namespace hussar::cli {

// What the data of the calibration are read with again.
struct SensitivityInput {
  std::string model;
  const Calibration& calibration;
  CutOptions cut;
  NamedShapes shapes;
  int threads = 0;
  std::function<Result<std::unique_ptr<DataSource>>()> open;
};

class SensitivityFlags {
 public:
  void declare(Command& command);
  // Before the calibration, which takes long. has_data: there are samples to run.
  Status check_usage(bool has_data);
  bool is_asked() const { return asked_; }
  bool has_labels() const { return labels_.has_value(); }
  // Before the calibration: fails when the model in FP32 does not know the labels of the data.
  Status check_labels(const std::string& model, DataSource& data, const LabelCheckOptions& options) const;
  // Writes the advice, too.
  Result<SensitivityReport> run(const SensitivityInput& input) const;

 private:
  Status take_labels();
  Result<std::vector<SensitivitySample>> read_samples(const SensitivityInput& input, Progress& progress) const;

  bool asked_ = false;
  std::string labels_path_, advice_, budget_ = "10s";
  int samples_ = 64;
  double advice_sqnr_ = 25;
  std::optional<std::vector<int64_t>> labels_;
};

}  // namespace hussar::cli
