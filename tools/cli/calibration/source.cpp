// Which source a word means.
#include "tools/cli/calibration/source.h"

namespace hussar::cli {

Result<std::unique_ptr<DataSource>> open_source(const std::vector<InputFacts>& inputs, const SourceOptions& options) {
  constexpr std::string_view kCommand = "cmd:";
  if (options.data.substr(0, kCommand.size()) == kCommand) {
    return open_command(inputs, options.data.substr(kCommand.size()));
  }
  return open_files(inputs, options);
}

}  // namespace hussar::cli
