// Calibration data from the command line:
//
//   data.npz, x.npy, x.raw   one file; the first dimension counts samples
//   FOLDER                   of .npz, .npy, .raw files or images, each of them one or more samples, in the order of
//                            their names; for several inputs one folder per input, with files of the same names
//   cmd:COMMAND              what a command writes to its standard output: .npy records one after another, for models
//                            with several inputs one per input, in the model's order
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "compile/sample.h"
#include "tools/cli/calibration/preprocess.h"

namespace hussar::cli {

struct SourceOptions {
  std::string data;                      // as above
  std::optional<Preprocess> preprocess;  // of images
  NamedShapes shapes;                    // of .raw files, where the model leaves them open
};

Result<std::unique_ptr<DataSource>> open_source(const std::vector<InputFacts>& inputs, const SourceOptions& options);

// The parts of it: a folder or file, and a command.
Result<std::unique_ptr<DataSource>> open_files(const std::vector<InputFacts>& inputs, const SourceOptions& options);
Result<std::unique_ptr<DataSource>> open_command(const std::vector<InputFacts>& inputs, const std::string& command);

}  // namespace hussar::cli
