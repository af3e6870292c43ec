// The flags of `hussar calibrate` that write the model with QuantizeLinear and DequantizeLinear: --qdq and what goes
// with it.
#pragma once
#include <string>
#include <vector>

#include "compile/export_qdq.h"
#include "hussar/status.h"
#include "quantize/calibration.h"
#include "tools/cli/command.h"
#include "tools/cli/console.h"
#include "tools/cli/json.h"

namespace hussar::cli {

class QdqFlags {
 public:
  void declare(Command& command);
  // Before the calibration, which takes long.
  Status check(const std::string& model, const std::string& shapes);
  bool is_asked() const { return !path_.empty(); }
  // `calibration_name` is for messages.
  Result<QdqReport> run(const std::string& model, const Calibration& calibration, const std::string& calibration_name);
  std::string summary(const QdqReport& report) const;
  Json to_json(const QdqReport& report) const;

 private:
  std::string path_, activations_ = "uint8";
  std::vector<std::string> nodes_;
  QdqOptions options_;
};

}  // namespace hussar::cli
