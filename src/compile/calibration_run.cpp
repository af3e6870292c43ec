// Counting where the results of steps lie, before the next steps use that memory again.
#include "compile/calibration_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "base/error.h"
#include "runtime/graph_run.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// Below this, waking another thread costs more than it counts.
constexpr int64_t kWorthAThread = 16384;
// Each of them has a histogram of every tensor.
constexpr int kMostShares = 16;
// Of outputs that are compared from run to run.
constexpr int64_t kMostCompared = 65536;

bool is_product(const PlanGraph& graph, const PlanStep& step) {
  bool is_op =
      step.op == "Conv" || step.op == "ConvTranspose" || step.op == "MatMul" || step.op == "com.microsoft.FusedMatMul";
  return is_op && step.inputs.size() > 1 && step.inputs[1] >= 0 &&
         graph.values[static_cast<size_t>(step.inputs[1])].storage == Storage::kConstant;
}

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

void ChannelRange::add(std::span<const float> values, int64_t first, int64_t channels) {
  if (min.empty()) {
    min.assign(static_cast<size_t>(channels), std::numeric_limits<float>::infinity());
    max.assign(static_cast<size_t>(channels), -std::numeric_limits<float>::infinity());
  }
  for (size_t at = 0; at < values.size();) {
    const auto channel = (static_cast<size_t>(first) + at) % min.size();
    const size_t count = std::min(min.size() - channel, values.size() - at);
    for (size_t i = 0; i < count; ++i) {
      // -0 becomes 0.
      const float value = values[at + i] + 0.0F;
      min[channel + i] = std::min(min[channel + i], value);
      max[channel + i] = std::max(max[channel + i], value);
    }
    at += count;
  }
}

void ChannelRange::merge(const ChannelRange& other) {
  if (min.empty()) *this = other;
  // Those of a model that does not fix the number of channels may differ.
  const size_t count = std::min(min.size(), other.min.size());
  for (size_t i = 0; i < count; ++i) {
    min[i] = std::min(min[i], other.min[i]);
    max[i] = std::max(max[i], other.max[i]);
  }
}

uint64_t CalibrationRun::Observed::not_finite() const {
  uint64_t found = 0;
  for (const Statistics& share : shares) found += share.nans() + share.infinities();
  return found;
}

Result<std::unique_ptr<CalibrationRun>> CalibrationRun::create(std::shared_ptr<const Plan> plan) {
  auto run = std::make_unique<CalibrationRun>();
  run->plan_ = plan;
  run->session_ = HUSSAR_TRY(Session::create(plan));
  run->inputs_ = input_facts(plan->graph);
  run->outputs_.resize(plan->graph.outputs.size());
  run->find_values();
  run->session_->set_operand_observer(
      [state = run.get()](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease& pool) {
        for (size_t i = 0; i < outputs.size(); ++i) {
          auto it = state->observed_.find(step.outputs[i]);
          if (it != state->observed_.end()) state->count(outputs[i], it->second, pool);
        }
      });
  return run;
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
  // What products alone read may be divided per channel, and so may queries, keys and values.
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
    observed.shares.resize(static_cast<size_t>(std::min(session_->threads(), kMostShares)));
    observed.names = {entry.name};
    auto it = producers.find(source);
    if (it == producers.end()) return;
    observed.step = it->second->name;
    if (others_read.count(source) == 0 && has_channels(entry)) observed.channels.resize(observed.shares.size());
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

void CalibrationRun::count(const Operand& operand, Observed& observed, ThreadPool::Lease& pool) {
  const int64_t elements = operand.shape.elements();
  if (operand.dtype != DType::kFloat32) {
    Tensor plain = to_plain(operand);
    observed.shares[0].add(as_floats(plain, elements));
    return;
  }
  const auto most = static_cast<int64_t>(observed.shares.size());
  const auto shares = static_cast<int>(std::clamp<int64_t>(elements / kWorthAThread, 1, most));
  auto count_share = [&](int share) {
    const int64_t begin = elements * share / shares, end = elements * (share + 1) / shares;
    add_elements(operand, begin, end, observed.shares[static_cast<size_t>(share)]);
    const int64_t channels = operand.shape[operand.layout == Layout::kPlain ? operand.shape.rank() - 1 : 1];
    if (observed.channels.empty() || (operand.layout != Layout::kPlain && operand.pitch != channels)) return;
    observed.channels[static_cast<size_t>(share)].add({operand.f32() + begin, static_cast<size_t>(end - begin)}, begin,
                                                      channels);
  };
  if (shares == 1)
    count_share(0);
  else
    pool.run(shares, count_share);
}

Status CalibrationRun::run(const DataRun& data) {
  for (size_t i = 0; i < data.inputs.size(); ++i) {
    auto it = observed_.find(plan_->graph.inputs[i]);
    if (it != observed_.end()) it->second.shares[0].add(as_floats(data.inputs[i], data.inputs[i].elements()));
  }
  auto outputs = session_->run_in_order(data.inputs);
  if (!outputs) return fail(outputs.error().code, "{}: {}", data.where, outputs.error().message);
  for (const auto& [value, observed] : observed_) {
    HUSSAR_CHECK(observed.not_finite() == 0, ErrorCode::kRunFailed,
                 "{}: {} elements of tensor '{}' (made by '{}') are NaN or infinite; leave this sample out, or look at "
                 "the model with `hussar run --check-finite`",
                 data.where, observed.not_finite(), observed.names[0], observed.step);
  }
  inputs_vary_ = inputs_vary_ || (runs_ > 0 && data.hash != first_hash_);
  first_hash_ = runs_ == 0 ? data.hash : first_hash_;
  compare_outputs(*outputs);
  ++runs_;
  return {};
}

Session& CalibrationRun::stop_counting() {
  session_->set_operand_observer(nullptr);
  return *session_;
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
    if (runs_ == 0) {
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
