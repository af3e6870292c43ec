// Calibration that keeps what it has counted: whatever cuts it off, a signal too, the same command goes on from there.
#pragma once
#include <optional>
#include <string>

#include "compile/calibrate.h"
#include "tools/cli/console.h"

namespace hussar::cli {

// The options beside what this sets: resume, save, progress and is_interrupted. path: the file; "": nothing is kept.
// unfinished: what lies there and is to be gone on with.
Result<Calibration> calibrate_resumably(const std::string& model, DataSource& data, CalibrateOptions options,
                                        const std::string& path, std::optional<Calibration> unfinished,
                                        Progress& progress, CalibrateReport& report);

}  // namespace hussar::cli
