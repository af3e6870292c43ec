// Counting where the results of steps lie, before the next steps use that memory again.
#include "compile/calibration_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/memory.h"
#include "runtime/graph_run.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// Below this, waking another thread costs more than it counts.
constexpr int64_t kWorthAThread = 16384;
// Each of them has a histogram of every tensor.
constexpr int kMostShares = 16;
// Of all arenas but the first.
constexpr size_t kMostArenaBytes = size_t(64) << 20;
// Few enough elements to be in the cache when they are looked at for the second time.
constexpr int64_t kChunk = 65536;
// Of outputs that are compared from run to run.
constexpr int64_t kMostCompared = 65536;

bool is_product(const PlanGraph& graph, const PlanStep& step) {
  bool is_op =
      step.op == "Conv" || step.op == "ConvTranspose" || step.op == "MatMul" || step.op == "com.microsoft.FusedMatMul";
  return is_op && step.inputs.size() > 1 && step.inputs[1] >= 0 &&
         graph.values[static_cast<size_t>(step.inputs[1])].storage == Storage::kConstant;
}

bool is_normalization(const PlanStep& step) { return step.op == "LayerNormalization" || step.op == "RMSNormalization"; }

// Along the last axis, or in channels-last along axis 1.
bool has_channels(const PlanValue& value) {
  if (!value.dims || value.dims->empty()) return false;
  return (value.layout == Layout::kPlain ? value.dims->back() : (*value.dims)[1]).is_constant();
}

bool is_copy(const PlanStep& step) { return step.op == "hussar.Reformat"; }

// Elements [begin, end) of a channels-last value that is a slice of a wider one, in the order of memory.
void add_slice(const Operand& operand, int64_t begin, int64_t end, Statistics& statistics) {
  const int64_t channels = operand.shape[1];
  std::vector<float> buffer;
  constexpr size_t kEnough = 16384;
  for (int64_t at = begin; at < end;) {
    int64_t pixel = at / channels, channel = at % channels, count = std::min(channels - channel, end - at);
    const float* row = operand.f32() + pixel * operand.pitch + channel;
    buffer.insert(buffer.end(), row, row + count);
    at += count;
    if (buffer.size() >= kEnough || at == end) {
      statistics.add(buffer);
      buffer.clear();
    }
  }
}

void add_elements(const Operand& operand, int64_t begin, int64_t end, Statistics& statistics) {
  const bool is_slice =
      operand.layout == Layout::kChannelsLast && operand.shape.rank() > 1 && operand.pitch != operand.shape[1];
  if (is_slice)
    add_slice(operand, begin, end, statistics);
  else
    statistics.add({operand.f32() + begin, static_cast<size_t>(end - begin)});
}

std::vector<float> as_floats(const Tensor& tensor, int64_t most) {
  std::vector<float> values(static_cast<size_t>(std::min(tensor.elements(), most)));
  if (!values.empty()) load_elements<float>(tensor, 0, static_cast<int64_t>(values.size()), values.data());
  return values;
}

// Whether the same element has all the weight in both: probabilities of a network that is sure, and always of the same.
bool are_saturated_alike(const std::vector<float>& a, const std::vector<float>& b) {
  auto peak = [](const std::vector<float>& values) {
    auto it = std::max_element(values.begin(), values.end());
    double sum = 0;
    for (float value : values) sum += std::fabs(value);
    return *it > 0.9999 * sum ? it - values.begin() : -1;
  };
  return a.size() > 1 && peak(a) >= 0 && peak(a) == peak(b);
}

}  // namespace

uint64_t CalibrationRun::Observed::not_finite(const Worker& worker) const {
  uint64_t found = 0;
  for (size_t i = worker.first_share; i < worker.first_share + worker.shares; ++i)
    found += shares[i].nans() + shares[i].infinities();
  return found;
}

Result<std::unique_ptr<CalibrationRun>> CalibrationRun::create(std::shared_ptr<const Plan> plan) {
  auto run = std::make_unique<CalibrationRun>();
  run->plan_ = plan;
  // Its arena says how many of them there may be.
  run->session_ = HUSSAR_TRY(Session::create(plan));
  run->threads_ = run->session_->threads();
  run->inputs_ = input_facts(plan->graph);
  run->outputs_.resize(plan->graph.outputs.size());
  run->find_values();
  return run;
}

Status CalibrationRun::add_worker(int threads, size_t shares) {
  auto worker = std::make_unique<Worker>();
  SessionOptions options;
  options.threads = threads;
  worker->session = HUSSAR_TRY(Session::create(plan_, options));
  worker->first_share = workers_.size() * shares;
  worker->shares = shares;
  worker->session->set_operand_observer(
      [this, state = worker.get()](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease& pool) {
        see(step, outputs, *state, pool);
      });
  free_.push_back(worker.get());
  workers_.push_back(std::move(worker));
  return {};
}

// As many workers with a thread each as there is memory for, unless they would leave most threads idle.
Status CalibrationRun::start(const DataRun& first) {
  std::vector<Shape> shapes;
  for (const Tensor& input : first.inputs) shapes.push_back(input.shape());
  Status status = session_->prepare(shapes);
  if (!status) return fail(status.error().code, "{}: {}", first.where, status.error().message);
  const size_t more = kMostArenaBytes / std::max<size_t>(session_->arena_bytes(), 1);
  session_.reset();
  const int most = std::min(threads_, kMostShares);
  const int count = static_cast<int>(std::min<size_t>(more + 1, static_cast<size_t>(most)));
  const bool is_single = 2 * count < threads_;
  const auto shares = static_cast<size_t>(is_single ? most : 1);
  for (int i = 0; i < (is_single ? 1 : count); ++i) HUSSAR_TRY(add_worker(is_single ? threads_ : 1, shares));
  for (auto& [value, observed] : observed_) {
    observed.shares.resize(shares * workers_.size());
    if (observed.has_channels) observed.channels.resize(observed.shares.size());
  }
  // Now, as the sessions' own leases will soon ask for more threads than there are.
  if (workers_.size() > 1) lease_.emplace(ThreadPool::shared(), count, true);
  return {};
}

void CalibrationRun::find_values() {
  const PlanGraph& graph = plan_->graph;
  std::map<int32_t, const PlanStep*> producers;
  for (const PlanStep& step : graph.steps) {
    for (int32_t output : step.outputs) {
      if (output >= 0) producers[output] = &step;
    }
  }
  // A copy in another layout holds the same numbers, so that its source alone is counted.
  auto source_of = [&](int32_t value) {
    for (auto it = producers.find(value); it != producers.end() && is_copy(*it->second) && it->second->inputs[0] >= 0;
         it = producers.find(value)) {
      value = it->second->inputs[0];
    }
    return value;
  };
  // What products alone read may be divided per channel, and so may what normalizations give, and queries, keys and
  // values.
  std::set<int32_t> others_read(graph.outputs.begin(), graph.outputs.end());
  for (const PlanStep& step : graph.steps) {
    const size_t first = is_product(graph, step) ? 1 : step.op == "hussar.Attention" ? 3 : 0;
    if (step.inputs.size() > first)
      others_read.insert(step.inputs.begin() + static_cast<std::ptrdiff_t>(first), step.inputs.end());
  }
  auto want = [&](int32_t value) {
    const int32_t source = source_of(value);
    const PlanValue& entry = graph.values[static_cast<size_t>(source)];
    if (!is_floating(entry.dtype) || entry.storage == Storage::kConstant) return;
    Observed& observed = observed_[source];
    observed.names = {entry.name};
    auto it = producers.find(source);
    if (it == producers.end()) return;
    observed.step = it->second->name;
    observed.has_channels = (others_read.count(source) == 0 || is_normalization(*it->second)) && has_channels(entry);
  };
  for (int32_t input : graph.inputs) want(input);
  for (const PlanStep& step : graph.steps) {
    if (!is_product(graph, step)) continue;
    if (step.inputs[0] >= 0) want(step.inputs[0]);
    if (!step.outputs.empty() && step.outputs[0] >= 0) want(step.outputs[0]);
  }
  for (const PlanStep& step : graph.steps) {
    if (!is_copy(step) || step.outputs[0] < 0) continue;
    auto it = observed_.find(source_of(step.outputs[0]));
    if (it != observed_.end()) it->second.names.push_back(graph.values[static_cast<size_t>(step.outputs[0])].name);
  }
}

void CalibrationRun::see(const PlanStep& step, std::span<const Operand> outputs, const Worker& worker,
                         ThreadPool::Lease& pool) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int32_t value = step.outputs[i];
    if (value < 0) continue;
    auto it = observed_.find(value);
    if (it != observed_.end()) count(outputs[i], it->second, worker, pool);
    if (worker.task->rows != nullptr) {
      const std::string& name = plan_->graph.values[static_cast<size_t>(value)].name;
      worker.sampler->pick(outputs[i], name, worker.task->data->hash, *worker.task->rows);
    }
  }
}

void CalibrationRun::count(const Operand& operand, Observed& observed, const Worker& worker, ThreadPool::Lease& pool) {
  const int64_t elements = operand.shape.elements();
  if (operand.dtype != DType::kFloat32) {
    Tensor plain = to_plain(operand);
    observed.shares[worker.first_share].add(as_floats(plain, elements));
    return;
  }
  const int64_t channels = operand.shape[operand.layout == Layout::kPlain ? operand.shape.rank() - 1 : 1];
  const bool has_channels =
      !observed.channels.empty() && (operand.layout == Layout::kPlain || operand.pitch == channels);
  const auto shares =
      static_cast<int>(std::clamp<int64_t>(elements / kWorthAThread, 1, static_cast<int64_t>(worker.shares)));
  pool.run(shares, [&](int number) {
    const size_t share = worker.first_share + static_cast<size_t>(number);
    const int64_t last = elements * (number + 1) / shares;
    for (int64_t begin = elements * number / shares, end = 0; begin < last; begin = end) {
      end = std::min(begin + kChunk, last);
      add_elements(operand, begin, end, observed.shares[share]);
      if (has_channels)
        observed.channels[share].add({operand.f32() + begin, static_cast<size_t>(end - begin)}, begin, channels);
    }
  });
}

Status CalibrationRun::run(Worker& worker, const Task& task, const ProductSampler* sampler) {
  const DataRun& data = *task.data;
  worker.task = &task;
  worker.sampler = sampler;
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    auto it = observed_.find(plan_->graph.inputs[i]);
    if (it == observed_.end()) continue;
    const Tensor& input = data.inputs[i];
    Statistics& share = it->second.shares[worker.first_share];
    if (input.dtype() == DType::kFloat32)
      share.add({input.data<float>(), static_cast<size_t>(input.elements())});
    else
      share.add(as_floats(input, input.elements()));
  }
  if (task.rows != nullptr) sampler->pick(plan_->graph, data, *task.rows);
  auto outputs = worker.session->run_in_order(data.inputs);
  if (!outputs) return fail(outputs.error().code, "{}: {}", data.where, outputs.error().message);
  for (const auto& [value, observed] : observed_) {
    const uint64_t found = observed.not_finite(worker);
    HUSSAR_CHECK(found == 0, ErrorCode::kRunFailed,
                 "{}: {} elements of tensor '{}' (made by '{}') are NaN or infinite; leave this sample out, or look at "
                 "the model with `hussar run --check-finite`",
                 data.where, found, observed.names[0], observed.step);
  }
  HUSSAR_CHECK(task.rows == nullptr || task.rows->failure.empty(), ErrorCode::kRunFailed, "{}: {}", data.where,
               task.rows->failure);
  std::lock_guard lock(mutex_);
  compare_outputs(*outputs);
  return {};
}

Status CalibrationRun::run(std::span<const Task> tasks, const ProductSampler* sampler,
                           const std::function<void()>& meanwhile) {
  if (workers_.empty() && !tasks.empty()) HUSSAR_TRY(start(*tasks[0].data));
  for (const Task& task : tasks) {
    inputs_vary_ = inputs_vary_ || (runs_ > 0 && task.data->hash != first_hash_);
    first_hash_ = runs_++ == 0 ? task.data->hash : first_hash_;
  }
  // The others are compared with what the first gives.
  if (!has_run_ && !tasks.empty()) {
    HUSSAR_TRY(run(*workers_[0], tasks[0], sampler));
    has_run_ = true;
    tasks = tasks.subspan(1);
  }
  std::vector<Status> results(tasks.size());
  auto run_task = [&](size_t index) {
    Worker* worker = nullptr;
    {
      std::lock_guard lock(mutex_);
      worker = free_.back();
      free_.pop_back();
    }
    results[index] = catching("calibrate", [&] { return run(*worker, tasks[index], sampler); });
    std::lock_guard lock(mutex_);
    free_.push_back(worker);
  };
  bool waits = meanwhile != nullptr;
  // Index 0 is for this thread, which has it first unless another one is early.
  const auto caller = std::this_thread::get_id();
  auto run_index = [&](int index) {
    if (index > 0) return run_task(static_cast<size_t>(index - 1));
    if (!waits || std::this_thread::get_id() != caller) return;
    waits = false;
    meanwhile();
  };
  const auto count = static_cast<int>(tasks.size()) + 1;
  if (lease_) lease_->run(count, run_index);
  for (int index = 1; !lease_ && index < count; ++index) run_index(index);
  if (waits) meanwhile();
  for (Status& status : results) {
    if (!status) return status;
  }
  return {};
}

Result<Session*> CalibrationRun::stop_counting() {
  lease_.reset();
  free_.clear();
  workers_.clear();
  session_ = HUSSAR_TRY(Session::create(plan_));
  return session_.get();
}

void CalibrationRun::compare_outputs(std::span<const Tensor> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    Seen& seen = outputs_[i];
    if (seen.varies) continue;
    // Integers (shapes, indices) may well be equal for all samples.
    if (!is_floating(outputs[i].dtype())) {
      seen.varies = true;
      continue;
    }
    std::vector<float> values = as_floats(outputs[i], kMostCompared);
    if (!has_run_) {
      seen.first = std::move(values);
      continue;
    }
    float least = 0, greatest = 0, apart = 0;
    bool same_size = values.size() == seen.first.size();
    for (size_t k = 0; same_size && k < values.size(); ++k) {
      least = std::min(least, values[k]);
      greatest = std::max(greatest, values[k]);
      apart = std::max(apart, std::fabs(values[k] - seen.first[k]));
    }
    seen.varies = !same_size || (apart > 1e-3F * (greatest - least) && !are_saturated_alike(values, seen.first));
  }
}

std::string CalibrationRun::constant_output() const {
  if (runs_ < 2 || !inputs_vary_ || outputs_.empty()) return "";
  bool any = std::any_of(outputs_.begin(), outputs_.end(), [](const Seen& it) { return it.varies; });
  return any ? "" : plan_->graph.values[static_cast<size_t>(plan_->graph.outputs[0])].name;
}

std::map<std::string, Statistics> CalibrationRun::statistics() const {
  std::map<std::string, Statistics> all;
  for (const auto& [value, observed] : observed_) {
    Statistics sum;
    for (const Statistics& share : observed.shares) sum.merge(share);
    for (const std::string& name : observed.names) all[name] = sum;
  }
  return all;
}

std::map<std::string, ChannelRange> CalibrationRun::channel_ranges() const {
  std::map<std::string, ChannelRange> all;
  for (const auto& [value, observed] : observed_) {
    if (observed.channels.empty()) continue;
    ChannelRange& sum = all[observed.names[0]];
    for (const ChannelRange& share : observed.channels) sum.merge(share);
  }
  return all;
}

}  // namespace hussar
