#include "compile/calibration_samples.h"

#include <algorithm>
#include <cstring>

namespace hussar {
namespace {

size_t bytes_of(const DataRun& run) {
  size_t bytes = 0;
  for (const Tensor& tensor : run.inputs) bytes += tensor.bytes();
  return bytes;
}

DataRun joined(const std::vector<const DataRun*>& parts) {
  DataRun run;
  run.samples = static_cast<int64_t>(parts.size());
  run.where = parts[0]->where;
  for (const DataRun* part : parts) {
    run.hash += part->hash;
    run.labels.insert(run.labels.end(), part->labels.begin(), part->labels.end());
  }
  for (size_t i = 0; i < parts[0]->inputs.size(); ++i) {
    const Tensor& first = parts[0]->inputs[i];
    Shape shape = first.shape();
    shape[0] = run.samples;
    Tensor whole(first.dtype(), shape);
    std::byte* to = whole.raw();
    for (const DataRun* part : parts) {
      if (part->inputs[i].bytes() > 0) std::memcpy(to, part->inputs[i].raw(), part->inputs[i].bytes());
      to += part->inputs[i].bytes();
    }
    run.inputs.push_back(std::move(whole));
  }
  return run;
}

}  // namespace

CalibrationSamples::CalibrationSamples(const std::vector<InputFacts>& inputs, int64_t most, size_t most_bytes)
    : most_(most), most_bytes_(most_bytes) {
  for (const InputFacts& input : inputs) {
    if (input.dims && !input.dims->empty() && (*input.dims)[0].is_constant())
      per_run_ = std::max<int64_t>(per_run_, (*input.dims)[0].value());
  }
}

void CalibrationSamples::offer(const DataRun& run) {
  if (run.samples <= 1) return keep(run);
  are_parts_ = true;
  for (DataRun& sample : single_samples(run)) keep(std::move(sample));
}

size_t CalibrationSamples::expected_runs(const DataRun& run) {
  return std::clamp<size_t>(kMostBytes / std::max<size_t>(bytes_of(run), 1), 1, kMost);
}

// What is kept is a prefix of all samples in the order of their hashes, as long as the bounds allow; more samples only
// make it shorter, so none that was dropped would be in it later.
void CalibrationSamples::keep(DataRun sample) {
  bytes_ += bytes_of(sample);
  const uint64_t hash = sample.hash;
  kept_.emplace(hash, std::move(sample));
  // One run at least.
  const auto least = static_cast<size_t>(are_parts_ ? per_run_ : 1);
  const auto most = std::max(static_cast<size_t>(most_), least);
  while (kept_.size() > least && (kept_.size() > most || bytes_ > most_bytes_)) {
    auto last = std::prev(kept_.end());
    bytes_ -= bytes_of(last->second);
    kept_.erase(last);
  }
}

std::vector<DataRun> CalibrationSamples::runs(int64_t most) const {
  std::vector<DataRun> runs;
  int64_t taken = 0;
  std::vector<const DataRun*> parts;
  for (const auto& [hash, sample] : kept_) {
    if (++taken > std::max(most, are_parts_ ? per_run_ : 1)) break;
    parts.push_back(&sample);
    if (are_parts_ && static_cast<int64_t>(parts.size()) < per_run_) continue;
    runs.push_back(parts.size() == 1 ? sample : joined(parts));
    parts.clear();
  }
  return runs;
}

}  // namespace hussar
