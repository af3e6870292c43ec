// A timing cache that outlives the process.
#pragma once
#include <string>

#include "hussar/status.h"
#include "tactics/timing_cache.h"

namespace hussar {

class TimingFile {
 public:
  // Reads the file where there is one. path "": nothing is read, and save() writes nothing.
  static Result<TimingFile> open(const std::string& path);
  // Writes the file, together with what other processes have added meanwhile.
  Status save();

  TimingCache cache;

 private:
  Status merge();
  std::string path_;
};

}  // namespace hussar
