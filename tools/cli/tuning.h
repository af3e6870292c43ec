// The flags of tuning: how long rivals are measured, and where measurements are kept.
#pragma once
#include <string>

#include "compile/compile.h"
#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

class Tuning {
 public:
  void declare(Command& command);
  // Reads the cache file, if there is one, and points the options to what is known. `this` must outlive the
  // compilation.
  Status begin(CompileOptions& options);
  // Writes the cache file, together with what other processes may have added meanwhile.
  Status end();

 private:
  Status merge_file();

  std::string budget_ = "0", path_;
  TimingCache cache_;
};

}  // namespace hussar::cli
