// CalibrationRun: a session whose activations are counted.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "quantize/calibration.h"
#include "runtime/session.h"

namespace hussar {

// The least and the greatest element of every channel; empty when nothing was seen.
struct ChannelRange {
  std::vector<float> min, max;

  // Of elements [first, first + values.size()) of rows of so many channels.
  void add(std::span<const float> values, int64_t first, int64_t channels);
  void merge(const ChannelRange& other);
};

class CalibrationRun {
 public:
  static Result<std::unique_ptr<CalibrationRun>> create(std::shared_ptr<const Plan> plan);

  // Runs the model and counts. Fails when an activation is not finite.
  Status run(const DataRun& data);
  // All that was counted, by value name.
  std::map<std::string, Statistics> statistics() const;
  // Per channel, of what products alone read, by value name.
  std::map<std::string, ChannelRange> channel_ranges() const;
  // For runs that are not counted; no run that is can follow.
  Session& stop_counting();
  const std::vector<InputFacts>& inputs() const { return inputs_; }
  size_t observed() const { return observed_.size(); }

  // Whether all runs gave nearly the same outputs although their inputs differed; the name of such an output, else "".
  std::string constant_output() const;

 private:
  // One value that is counted. Shares of it are counted by several threads.
  struct Observed {
    std::vector<Statistics> shares;
    std::vector<ChannelRange> channels;  // of the same shares; empty unless products alone read the value
    std::string step;                    // that makes it
    std::vector<std::string> names;      // of the value, and of copies of it in other layouts
    uint64_t not_finite() const;
  };
  // Of an output over all runs.
  struct Seen {
    std::vector<float> first;
    bool varies = false;
  };

  void find_values();
  void count(const Operand& operand, Observed& observed, ThreadPool::Lease& pool);
  void compare_outputs(std::span<const Tensor> outputs);

  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Session> session_;
  std::vector<InputFacts> inputs_;
  std::map<int32_t, Observed> observed_;  // by index into PlanGraph::values
  std::vector<Seen> outputs_;
  uint64_t first_hash_ = 0;
  bool inputs_vary_ = false;
  int64_t runs_ = 0;
};

}  // namespace hussar
