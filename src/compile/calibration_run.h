// CalibrationRun: sessions whose activations are counted.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compile/calibration_data.h"
#include "compile/product_samples.h"
#include "quantize/calibration.h"
#include "quantize/channel_range.h"
#include "runtime/session.h"

namespace hussar {

class CalibrationRun {
 public:
  static Result<std::unique_ptr<CalibrationRun>> create(std::shared_ptr<const Plan> plan);

  struct Task {
    const DataRun* data;
    RunRows* rows = nullptr;  // where the rows that the sampler picks go; null: none are wanted
  };
  // Runs the model on all of these and counts. Several run at a time, on a thread each: that wastes less than to cut
  // every step into shares, and counting finds in the cache what the thread has just made. Fails when an activation is
  // not finite. This thread does `meanwhile`, which must not throw, once the others are at work.
  Status run(std::span<const Task> tasks, const ProductSampler* sampler = nullptr,
             const std::function<void()>& meanwhile = nullptr);
  Status run(const DataRun& data) {
    const Task task{&data};
    return run({&task, 1});
  }
  // How many tasks keep all threads busy.
  size_t enough() const { return 4 * static_cast<size_t>(threads_); }
  // All that was counted, by value name.
  std::map<std::string, Statistics> statistics() const;
  // Per channel, of what products alone read, by value name.
  std::map<std::string, ChannelRange> channel_ranges() const;
  // A session for runs that are not counted; no run that is can follow.
  Result<Session*> stop_counting();
  const std::vector<InputFacts>& inputs() const { return inputs_; }
  size_t observed() const { return observed_.size(); }

  // Whether all runs gave nearly the same outputs although their inputs differed; the name of such an output, else "".
  std::string constant_output() const;

 private:
  // Runs one task at a time and counts in its own shares.
  struct Worker {
    std::unique_ptr<Session> session;
    size_t first_share = 0, shares = 1;
    const Task* task = nullptr;
    const ProductSampler* sampler = nullptr;
  };
  // One value that is counted. Shares of it are counted by several threads.
  struct Observed {
    std::vector<Statistics> shares;
    std::vector<ChannelRange> channels;  // of the same shares, if it has channels
    bool has_channels = false;           // products alone read the value
    std::string step;                    // that makes it
    std::vector<std::string> names;      // of the value, and of copies of it in other layouts
    uint64_t not_finite(const Worker& worker) const;
  };
  // Of an output over all runs.
  struct Seen {
    std::vector<float> first;
    bool varies = false;
  };

  void find_values();
  Status start(const DataRun& first);
  Status add_worker(int threads, size_t shares);
  Status run(Worker& worker, const Task& task, const ProductSampler* sampler);
  void see(const PlanStep& step, std::span<const Operand> outputs, const Worker& worker, ThreadPool::Lease& pool);
  void count(const Operand& operand, Observed& observed, const Worker& worker, ThreadPool::Lease& pool);
  void compare_outputs(std::span<const Tensor> outputs);

  std::shared_ptr<const Plan> plan_;
  int threads_ = 1;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::optional<ThreadPool::Lease> lease_;  // one thread for each of them
  std::unique_ptr<Session> session_;        // that does not count
  std::vector<InputFacts> inputs_;
  std::map<int32_t, Observed> observed_;  // by index into PlanGraph::values
  std::mutex mutex_;                      // guards outputs_ and free_ while tasks run
  std::vector<Seen> outputs_;
  std::vector<Worker*> free_;
  uint64_t first_hash_ = 0;
  bool inputs_vary_ = false, has_run_ = false;
  int64_t runs_ = 0;
};

}  // namespace hussar
