#include "tools/cli/calibration/resumable.h"

#include <fmt/format.h>

#include "quantize/calibration_file.h"
#include "tools/cli/interruption.h"

namespace hussar::cli {

Result<Calibration> calibrate_resumably(const std::string& model, DataSource& data, CalibrateOptions options,
                                        const std::string& path, std::optional<Calibration> unfinished,
                                        Progress& progress, CalibrateReport& report) {
  const SignalDeferral deferral;
  options.progress = [&](std::string_view stage) {
    // Nothing is counted before it and after it; then a signal need not wait.
    SignalDeferral::turn(!path.empty() && stage == kCountingStage);
    progress.stage(stage);
  };
  options.stage_progress = [&](double fraction) { progress.update(fraction); };
  options.is_interrupted = is_interrupted;
  if (!path.empty())
    options.save = [&](const Calibration& calibration) { return write_calibration(calibration, path); };
  options.resume = std::move(unfinished);
  if (options.resume) note(fmt::format("going on after {} samples", options.resume->samples));
  return calibrate(model, data, options, &report);
}

}  // namespace hussar::cli
