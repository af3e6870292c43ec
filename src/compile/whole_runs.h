// WholeRuns: what runs of a whole plan take, as they will be: on a device as one recording, where nothing of the plan
// is the host's, and without copies of inputs and outputs.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "hussar/status.h"
#include "runtime/session.h"

namespace hussar {

class WholeRuns {
 public:
  // `clock`: seconds; null: the machine's. Session and inputs (in plan order) outlive this.
  WholeRuns(Session& session, std::span<const Tensor> inputs, std::function<double()> clock = nullptr)
      : session_(session), inputs_(inputs), clock_(std::move(clock)) {}

  // The first runs: binds, settles and records; then finds how many make up a sample.
  Status warm_up();
  // Microseconds of a run, over as many as take some milliseconds.
  Result<double> sample();

 private:
  double now() const;
  Result<double> time(int runs);

  Session& session_;
  std::span<const Tensor> inputs_;
  std::function<double()> clock_;
  bool is_recorded_ = false;
  int runs_ = 1;
};

}  // namespace hussar
