// CalibrationSamples: the few samples that stand for all of them when ranges are judged.
#pragma once
#include <map>
#include <vector>

#include "compile/calibration_data.h"

namespace hussar {

// Those with the least hashes: which they are depends on the set of samples alone, not on their order nor on how they
// were cut, and data that are read again give the same ones.
class CalibrationSamples {
 public:
  static constexpr int64_t kMost = 32;
  static constexpr size_t kMostBytes = size_t(32) << 20;  // but for the first

  explicit CalibrationSamples(const std::vector<InputFacts>& inputs, int64_t most = kMost,
                              size_t most_bytes = kMostBytes);
  void offer(const DataRun& run);
  // How many runs there will be if there are enough samples, all of them runs of their own and as large as this one.
  static size_t expected_runs(const DataRun& run);
  // Of at most so many samples, by hash. Where the model fixes how many samples it takes at a time, so many in a run;
  // what does not fill one is left out.
  std::vector<DataRun> runs(int64_t most) const;
  std::vector<DataRun> runs() const { return runs(most_); }

 private:
  void keep(DataRun sample);

  int64_t per_run_ = 1, most_;
  size_t bytes_ = 0, most_bytes_;
  bool are_parts_ = false;  // of runs with several samples
  std::multimap<uint64_t, DataRun> kept_;
};

}  // namespace hussar
