// Contests between kernels of a device.
#include "compile/tune_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <tuple>
#include <unordered_map>

#include "base/cores.h"
#include "base/error.h"
#include "compile/compile.h"
#include "compile/score.h"
#include "compile/timing_keys.h"
#include "ops/infer.h"
#include "plan/device.h"
#include "plan/kernel.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// Whether input `index` says where sequences start.
bool is_starts(const Node& node, size_t index) {
  return (node.op == "hussar.Attention" && index == 4) || (node.op == "hussar.QuantizedAttention" && index == 7);
}

constexpr size_t kMostKernels = 3, kMostTiles = 6;
constexpr int kRounds = 7;
constexpr size_t kJobsPerCore = 4;  // compiled before what they are for is measured
// More weights than the cache of a GPU holds, and no more steps than that takes.
constexpr size_t kColdBytes = size_t{96} << 20;
constexpr size_t kMostTwins = 8;
constexpr int kLeastLaunches = 8;
constexpr double kSampleMicroseconds = 400;

// Steps with the same work, of which the first stands for all.
struct Problems {
  std::string key;
  std::vector<const Node*> twins;
  std::vector<Rival> rivals;
  double predicted = 0;  // of all of them together
};

// A node in a graph of its own, so that packing its weights changes nothing else.
struct Copy {
  Graph graph;
  Node* node = nullptr;
};

Value* copy_value(Graph& graph, const Value* value, std::unordered_map<const Value*, Value*>& copies) {
  if (value == nullptr) return nullptr;
  Value*& copy = copies[value];
  if (copy != nullptr) return copy;
  copy = value->is_constant() ? graph.add_constant(value->name, *value->constant)
                              : graph.add_value(value->name, value->dtype, value->dims);
  copy->layout = value->layout;
  copy->channel_offset = value->channel_offset;
  Value* made = copy;  // the map may move it
  if (value->slice_of != nullptr) made->slice_of = copy_value(graph, value->slice_of, copies);
  return made;
}

Copy copy_node(const Node& node) {
  Copy copy;
  std::unordered_map<const Value*, Value*> copies;
  std::vector<Value*> inputs, outputs;
  for (const Value* input : node.inputs) inputs.push_back(copy_value(copy.graph, input, copies));
  for (const Value* output : node.outputs) outputs.push_back(copy_value(copy.graph, output, copies));
  copy.node = copy.graph.add_node(node.op, node.name, inputs, outputs, node.attributes);
  copy.node->program = node.program;
  copy.node->program_inputs = node.program_inputs;
  return copy;
}

PlanStep step_of(const Node& node, const Rival& rival) {
  PlanStep step;
  step.kernel = rival.tactic->kernel;
  step.op = node.op;
  step.name = node.name;
  step.attributes = node.attributes;
  step.program = node.program;
  step.program_inputs = node.program_inputs;
  for (size_t i = 0; i < node.inputs.size(); ++i)
    step.inputs.push_back(node.inputs[i] != nullptr ? static_cast<int32_t>(i) : -1);
  for (size_t i = 0; i < node.outputs.size(); ++i)
    step.outputs.push_back(node.outputs[i] != nullptr ? static_cast<int32_t>(node.inputs.size() + i) : -1);
  return step;
}

size_t constant_bytes(const Node& node) {
  size_t bytes = 0;
  for (const Value* input : node.inputs)
    bytes += input != nullptr && input->is_constant() ? input->constant->bytes() : 0;
  return bytes;
}

// One step of one rival, ready to be enqueued.
struct Entry {
  Copy copy;
  PlanStep step;
  std::vector<Operand> inputs, outputs;
  std::vector<DeviceMemory> constants;
  Tensor state;
};

struct Contestant {
  const Rival* rival = nullptr;
  std::vector<Entry> entries;
  DeviceMemory scratch;
  int recording = -1;
  int launches = 0;
  std::vector<double> samples;  // microseconds of a step
};

class DeviceTuner {
 public:
  DeviceTuner(const Graph& graph, const Target& target, const TuneOptions& options, TimingCache& cache)
      : graph_(graph), target_(target), options_(options), cache_(cache) {}

  Result<TuneReport> run() {
    begin_ = Clock::now();
    auto device = open_device(target_name(target_), 0);
    if (!device) {
      report_.skipped = "nothing is measured: " + device.error().message;
      return report_;
    }
    device_ = std::move(*device);
    HUSSAR_TRY(find_problems());
    double done = 0, all = 0;
    for (const Problems& problem : problems_) all += problem.predicted;
    size_t compiled = 0;
    for (size_t i = 0; i < problems_.size(); ++i) {
      if (report_.measured > 0 && seconds() >= options_.seconds) break;
      const Problems& problem = problems_[i];
      if (i == compiled) compiled = HUSSAR_TRY(compile_from(i));
      // A device without room for it is no reason not to build.
      if (Status held = hold(problem); !held) {
        report_.skipped = held.error().message;
        break;
      }
      ++report_.measured;
      done += problem.predicted;
      if (options_.progress) options_.progress(done / all);
    }
    report_.rounds = problems_.empty() ? 0 : kRounds;
    report_.seconds = seconds();
    return report_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  // The graph with its open sizes fixed, whose nodes correspond to those of the graph one to one.
  Status fix_sizes() {
    sized_ = graph_.clone();
    HUSSAR_TRY(fix_shapes(sized_, options_.shapes));
    HUSSAR_TRY(infer_graph(sized_));
    return {};
  }

  static bool has_sizes(const Node& node) {
    for (const auto* list : {&node.inputs, &node.outputs}) {
      for (const Value* value : *list) {
        if (value != nullptr && !value->static_shape()) return false;
      }
    }
    return true;
  }

  Status find_problems() {
    HUSSAR_TRY(fix_sizes());
    std::map<std::string, std::optional<size_t>> seen;  // by key, where in problems_; nothing to measure: nowhere
    const Timings timings = timings_from(cache_, target_, options_.shapes);
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      const Node& sized = *sized_.nodes()[i];
      if (!has_sizes(sized)) continue;
      const Problem problem{*graph_.nodes()[i], target_};
      const std::string key = problem_key(problem, options_.shapes);
      auto [it, is_new] = seen.emplace(key, std::nullopt);
      if (it->second) {
        Problems& same = problems_[*it->second];
        same.twins.push_back(&sized);
        same.predicted += same.rivals.front().predicted;
      }
      if (!is_new) continue;
      std::vector<Rival> rivals = rivals_of(choose(Problem{sized, target_}));
      if (rivals.size() < 2) continue;
      ++report_.problems;
      const bool is_measured = std::all_of(rivals.begin(), rivals.end(),
                                           [&](const Rival& rival) { return timings(problem, rival).has_value(); });
      if (is_measured) continue;
      it->second = problems_.size();
      problems_.push_back({key, {&sized}, std::move(rivals), 0});
      problems_.back().predicted = problems_.back().rivals.front().predicted;
    }
    std::stable_sort(problems_.begin(), problems_.end(),
                     [](const Problems& a, const Problems& b) { return a.predicted > b.predicted; });
    return {};
  }

  // A dense one is always among them: 2:4 weights have to win against it.
  static std::vector<size_t> kernels_of(const Choice& choice) {
    std::vector<size_t> kernels = contenders(choice, kMostKernels);
    auto is_dense = [&](size_t i) { return !choice.rivals[i].tactic->two_of_four; };
    if (std::any_of(kernels.begin(), kernels.end(), is_dense)) return kernels;
    const std::vector<size_t> all = contenders(choice, choice.rivals.size());
    const auto dense = std::find_if(all.begin(), all.end(), is_dense);
    if (dense != all.end()) kernels.push_back(*dense);
    return kernels;
  }

  // The kernels that are worth it, and for each of them the ways to go about it.
  static std::vector<Rival> rivals_of(Choice choice) {
    std::vector<Rival> rivals;
    for (size_t usual : kernels_of(choice)) {
      choice.chosen = static_cast<int>(usual);
      if (choice.rivals[usual].tactic->place != Place::kDevice) continue;
      for (size_t i : configurations_of(choice, kMostTiles)) rivals.push_back(choice.rivals[i]);
    }
    return rivals;
  }

  Status pack(const Node& node, const Rival& rival, Copy& copy, std::vector<Packing::Job>& jobs) const {
    copy = copy_node(node);
    if (!rival.configuration.empty())
      copy.node->attributes.set(kConfigurationAttribute, std::string(rival.configuration));
    if (rival.tactic->pack == nullptr) return {};
    Packing packing(copy.graph, *copy.node, target_);
    HUSSAR_TRY(rival.tactic->pack(packing));
    jobs.insert(jobs.end(), packing.jobs.begin(), packing.jobs.end());
    return {};
  }

  // Compiles the rivals of this problem and of as many behind it as keep all cores at work. Gives the next one.
  Result<size_t> compile_from(size_t first) {
    const auto enough = static_cast<size_t>(usable_cores()) * kJobsPerCore;
    std::vector<Copy> copies;
    std::vector<Packing::Job> jobs;
    size_t next = first;
    for (; next < problems_.size() && jobs.size() < enough; ++next) {
      for (const Rival& rival : problems_[next].rivals)
        HUSSAR_TRY(pack(*problems_[next].twins.front(), rival, copies.emplace_back(), jobs));
    }
    HUSSAR_TRY(do_jobs(jobs));
    // What a device has loaded goes by the address of the code.
    for (const Packing::Job& job : jobs) codes_[job.key] = *job.constant->constant;
    return next;
  }

  // Numbers between -1 and 1, and any bytes: power, which bounds large products, goes by the bits that change. Indices
  // are 0.
  Result<std::byte*> allocate_filled(DType dtype, size_t bytes) {
    std::byte* data = HUSSAR_TRY(device_->allocate(bytes));
    memory_.emplace_back(*device_, data);
    constexpr int64_t kPattern = 1 << 18;
    Tensor pattern(dtype, {kPattern});
    std::vector<double> numbers(kPattern, 0.0);
    if (is_floating(dtype)) {
      std::minstd_rand random(1);
      for (double& number : numbers) number = static_cast<double>(random() % 2001) / 1000 - 1;
    }
    if (dtype == DType::kUInt8) {
      std::minstd_rand random(1);
      for (double& number : numbers) number = static_cast<double>(random() >> 8 & 0xffU);
    }
    store_elements<double>(pattern, 0, kPattern, numbers.data());
    for (size_t at = 0; at < bytes; at += pattern.bytes())
      HUSSAR_TRY(device_->copy_in(data + at, pattern.raw(), std::min(pattern.bytes(), bytes - at)));
    HUSSAR_TRY(device_->wait());
    return data;
  }

  static Operand operand_of(const Value& value) {
    const Value* root = &value;
    while (root->slice_of != nullptr) root = root->slice_of;
    const Shape shape = *value.static_shape();
    const Shape holder = *root->static_shape();
    return {value.dtype, shape, value.layout, holder.rank() > 1 ? holder[1] : 1, nullptr};
  }

  Status make_entry(const Node& node, const Rival& rival, Contestant& contestant, size_t& scratch) {
    Entry& entry = contestant.entries.emplace_back();
    std::vector<Packing::Job> jobs;
    HUSSAR_TRY(pack(node, rival, entry.copy, jobs));
    for (const Packing::Job& job : jobs) {
      const auto code = codes_.find(job.key);
      job.constant->constant = code != codes_.end() ? code->second : HUSSAR_TRY(job.make());
      codes_[job.key] = *job.constant->constant;
    }
    const Node& packed = *entry.copy.node;
    entry.step = step_of(packed, rival);
    std::vector<Operand> given;
    for (size_t i = 0; i < packed.inputs.size(); ++i) {
      const Value* value = packed.inputs[i];
      Operand operand = value != nullptr ? operand_of(*value) : Operand{};
      if (value != nullptr && value->is_constant()) {
        const Tensor& tensor = *value->constant;
        operand.data = const_cast<std::byte*>(tensor.raw());
        given.push_back(operand);
        entry.constants.emplace_back(*device_, HUSSAR_TRY(device_->allocate(tensor.bytes())));
        HUSSAR_TRY(device_->copy_in(entry.constants.back().data(), tensor.raw(), tensor.bytes()));
        operand.data = entry.constants.back().data();
      } else {
        given.push_back(operand);
        if (value != nullptr) operand.data = HUSSAR_TRY(data_of(false, i, *value));
        if (value != nullptr && is_starts(packed, i)) HUSSAR_TRY(fill_starts(packed, operand));
      }
      entry.inputs.push_back(operand);
    }
    std::vector<Operand> taken;
    for (size_t i = 0; i < packed.outputs.size(); ++i) {
      Operand operand = packed.outputs[i] != nullptr ? operand_of(*packed.outputs[i]) : Operand{};
      taken.push_back(operand);
      if (packed.outputs[i] != nullptr) operand.data = HUSSAR_TRY(data_of(true, i, *packed.outputs[i]));
      entry.outputs.push_back(operand);
    }
    const Kernel* kernel = find_kernel(rival.tactic->kernel);
    entry.state = Tensor(DType::kUInt8, {static_cast<int64_t>(kernel->state_bytes) + 1});
    Prepare prepare{entry.step, given, taken, target_.threads, entry.state.raw()};
    prepare.device = device_.get();
    if (packed.code != nullptr) prepare.code = {packed.code->constant->raw(), packed.code->constant->bytes()};
    if (kernel->prepare != nullptr) HUSSAR_TRY(kernel->prepare(prepare));
    scratch = std::max(scratch, prepare.scratch_bytes);
    return {};
  }

  // Sequences that follow each other are all of full length: shorter ones take less of everything.
  Status fill_starts(const Node& attention, const Operand& starts) {
    Tensor numbers(DType::kInt32, starts.shape);
    const int64_t length = (*attention.inputs[0]->static_shape())[1];
    for (int64_t i = 0; i < numbers.elements(); ++i) numbers.data<int32_t>()[i] = static_cast<int32_t>(i * length);
    HUSSAR_TRY(device_->copy_in(starts.data, numbers.raw(), numbers.bytes()));
    return device_->wait();
  }

  // What the steps of a problem read and write, the same for all rivals. Twins may lie in holders of other sizes.
  Result<std::byte*> data_of(bool is_output, size_t index, const Value& value) {
    const Value* root = &value;
    int64_t offset = 0;
    for (; root->slice_of != nullptr; root = root->slice_of) offset += root->channel_offset;
    const size_t size = dtype_size(value.dtype);
    const size_t bytes = static_cast<size_t>(root->static_shape()->elements()) * size;
    auto [it, is_new] = data_.emplace(std::tuple(is_output, index, bytes), nullptr);
    if (is_new) it->second = HUSSAR_TRY(allocate_filled(value.dtype, bytes));
    return it->second + static_cast<size_t>(offset) * size;
  }

  Status make_contestant(const Problems& problem, const Rival& rival, Contestant& contestant) {
    contestant.rival = &rival;
    size_t scratch = 0, bytes = 0;
    for (const Node* twin : problem.twins) {
      HUSSAR_TRY(make_entry(*twin, rival, contestant, scratch));
      bytes += constant_bytes(*twin);
      if (bytes >= kColdBytes || contestant.entries.size() >= kMostTwins) break;
    }
    contestant.scratch = DeviceMemory(*device_, HUSSAR_TRY(device_->allocate(scratch)));
    HUSSAR_TRY(device_->begin_recording());
    const int turns = (kLeastLaunches + static_cast<int>(contestant.entries.size()) - 1) /
                      static_cast<int>(contestant.entries.size());
    Status status;
    ThreadPool::Lease lease(ThreadPool::shared(), 1);
    for (int turn = 0; turn < turns && status; ++turn) {
      for (const Entry& entry : contestant.entries) {
        Run run{entry.step, entry.inputs, entry.outputs, entry.state.raw(), contestant.scratch.data(), lease};
        run.device = device_.get();
        if (status) status = find_kernel(rival.tactic->kernel)->run(run);
      }
    }
    auto recording = device_->end_recording();
    HUSSAR_TRY(std::move(status));
    contestant.recording = HUSSAR_TRY(std::move(recording));
    contestant.launches = turns * static_cast<int>(contestant.entries.size());
    return {};
  }

  // What a library does not take it says on the device only: that is remembered, too.
  Status make_contestants(const Problems& problem, std::vector<Contestant>& contestants) {
    for (const Rival& rival : problem.rivals) {
      Contestant contestant;
      Status made = make_contestant(problem, rival, contestant);
      if (made) {
        contestants.push_back(std::move(contestant));
        continue;
      }
      HUSSAR_TRY(device_->wait());  // copies to memory that goes with the contestant
      if (rival.tactic->vendor_library == nullptr) return made;
      cache_.record(machine_of(target_), problem.key, rival_key(rival, target_), kImpossible);
    }
    return {};
  }

  Result<double> time_of(const Contestant& contestant, int replays) {
    const auto begin = Clock::now();
    for (int i = 0; i < replays; ++i) HUSSAR_TRY(device_->replay(contestant.recording));
    HUSSAR_TRY(device_->wait());
    const double microseconds = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    return microseconds / replays / contestant.launches;
  }

  Status hold(const Problems& problem) {
    std::vector<Contestant> contestants;
    HUSSAR_TRY(make_contestants(problem, contestants));
    std::vector<int> replays;
    for (const Contestant& contestant : contestants) {
      HUSSAR_TRY(time_of(contestant, 1));
      const double once = std::max(HUSSAR_TRY(time_of(contestant, 1)) * contestant.launches, 1.0);
      replays.push_back(std::clamp(static_cast<int>(kSampleMicroseconds / once), 1, 50));
    }
    for (int round = 0; round < kRounds; ++round) {
      for (size_t k = 0; k < contestants.size(); ++k) {
        const size_t i = (k + static_cast<size_t>(round)) % contestants.size();
        contestants[i].samples.push_back(HUSSAR_TRY(time_of(contestants[i], replays[i])));
      }
    }
    const std::string machine = machine_of(target_);
    for (const Contestant& contestant : contestants)
      cache_.record(machine, problem.key, rival_key(*contestant.rival, target_), score(contestant.samples));
    device_->drop_recordings();
    data_.clear();
    memory_.clear();
    return {};
  }

  const Graph& graph_;
  const Target target_;
  const TuneOptions& options_;
  TimingCache& cache_;
  Clock::time_point begin_;
  Graph sized_;
  std::unique_ptr<Device> device_;  // outlives all memory below
  std::vector<Problems> problems_;
  std::map<std::string, Tensor> codes_;  // by source
  std::map<std::tuple<bool, size_t, size_t>, std::byte*>
      data_;  // of the problem at hand: is an output, which, its bytes
  std::vector<DeviceMemory> memory_;
  TuneReport report_;
};

}  // namespace

Result<TuneReport> tune_device(const Graph& graph, const Target& target, const TuneOptions& options,
                               TimingCache& cache) {
  return DeviceTuner(graph, target, options, cache).run();
}

}  // namespace hussar
