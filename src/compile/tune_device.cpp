// Contests between kernels of a device.
#include "compile/tune_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "base/cores.h"
#include "base/error.h"
#include "compile/compile.h"
#include "compile/compile_ahead.h"
#include "compile/copy_node.h"
#include "compile/flops.h"
#include "compile/measuring_order.h"
#include "compile/row_counts.h"
#include "compile/score.h"
#include "compile/timing_keys.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "plan/device.h"
#include "plan/kernel.h"
#include "tensor/convert.h"
#include "tensor/expected_rows.h"

namespace hussar {
namespace {

// Whether input `index` says where sequences start.
bool is_starts(const Node& node, size_t index) {
  return (node.op == "hussar.Attention" && index == 4) || (node.op == "hussar.QuantizedAttention" && index == 7);
}

constexpr size_t kMostKernels = 3, kMostTiles = 6;
constexpr int kRounds = 7;
constexpr size_t kJobsPerCore = 2;  // compiled before what they are for is measured
// More weights than the cache of a GPU holds, and no more steps than that takes.
constexpr size_t kColdBytes = size_t{96} << 20;
constexpr size_t kMostTwins = 8;
// What steps read and write is kept for the next ones, up to this size.
constexpr size_t kMostHeldBytes = size_t{2} << 30;
constexpr int kLeastLaunches = 8;
constexpr double kSampleMicroseconds = 400;
constexpr double kLeastTime = 1e-3;  // microseconds that a cache can hold

// Steps with the same work, of which the first stands for all.
struct Work {
  std::string key;
  const Node* node = nullptr;
  std::map<size_t, int> counts;  // of such steps, by graph
  std::vector<Rival> rivals;
  size_t first = 0;      // that choose() takes unmeasured
  double rows = 1;       // the part of them that is expected to be needed
  int64_t all_rows = 0;  // of which kernels are told how many are needed; 0: they are not
  std::map<size_t, std::vector<Packing::Job>> jobs = {};  // of rivals, made when they are asked for

  // Forms of one model share what they have in common.
  int count() const {
    int most = 0;
    for (const auto& [graph, count] : counts) most = std::max(most, count);
    return most;
  }
};

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

// The rival's step over weights of its own.
struct Entry {
  std::vector<Operand> inputs, outputs;
  std::vector<DeviceMemory> constants;
  Tensor state;
};

struct Contestant {
  const Rival* rival = nullptr;
  NodeCopy copy;
  PlanStep step;
  std::vector<Entry> entries;
  DeviceMemory scratch, row_count;
  int recording = -1;
  int launches = 0;
  std::vector<double> samples;  // microseconds of a step
};

// What memory and multipliers allow: more than any GPU of that generation reaches.
double least_microseconds(const Node& node, int sm, bool sparse) {
  const double bytes_per_microsecond = sm <= 90 ? 1e7 : 2e7;
  const double halves = sm < 90 ? 0.4e9 : sm == 90 ? 1.1e9 : 3e9;  // multiplications and additions
  const OpDef* op = find_op(node.op);
  const double flops = op != nullptr && op->flops != nullptr ? op->flops(node) : 0;
  const size_t element = node.input(0) != nullptr ? dtype_size(node.input(0)->dtype) : 0;
  const double rate = halves * 2 / static_cast<double>(std::max<size_t>(element, 1));
  return std::max(node_bytes(node) / bytes_per_microsecond, flops / (rate * (sparse ? 2 : 1)));
}

class DeviceTuner {
 public:
  DeviceTuner(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
              TimingCache& cache)
      : graphs_(graphs), target_(target), options_(options), cache_(cache) {}

  Result<TuneReport> run() {
    begin_ = now();
    auto device = open_device(target_name(target_), 0);
    if (!device) {
      report_.skipped = "nothing is measured: " + device.error().message;
      return report_;
    }
    device_ = std::move(*device);
    machine_ = machine_of(target_);
    HUSSAR_TRY(find_works());
    MeasuringOrder order(contests(), options_.all);
    // One core measures.
    const int compilers = std::max(usable_cores() - 1, 1);
    CompileAhead ahead(compilers);
    std::set<size_t> visited;
    while (true) {
      const auto visits = order.visits();
      if (visits.empty()) {
        settle(order);
        break;
      }
      // Contests in the whole plan, which have the reserve otherwise, rarely bring more.
      constexpr double kMuch = 0.005;
      const double end = options_.seconds + (visits.front().part >= kMuch ? options_.reserve : 0);
      if (seconds() >= end && (knows_something_ || !visited.empty())) break;
      HUSSAR_TRY(ask_for(visits, static_cast<size_t>(compilers) * kJobsPerCore, ahead));
      // A device without room for it is no reason not to build.
      if (Status held = hold(visits.front(), order, ahead); !held) {
        report_.skipped = held.error().message;
        break;
      }
      visited.insert(visits.front().contest);
      tell(order);
    }
    report_.measured = static_cast<int>(visited.size());
    report_.rounds = visited.empty() ? 0 : kRounds;
    report_.seconds = seconds();
    return report_;
  }

 private:
  double now() const {
    if (options_.clock) return options_.clock();
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  double seconds() const { return now() - begin_; }

  void tell(const MeasuringOrder& order) const {
    if (!options_.progress) return;
    double done = 0, all = 0;
    for (const WorkContest& contest : order.contests()) {
      for (const Contender& contender : contest.contenders) done += contender.measured ? 1 : 0;
      all += static_cast<double>(contest.contenders.size());
    }
    options_.progress(std::min(1.0, std::max(done / all, seconds() / std::max(options_.seconds, 1e-9))));
  }

  // The graphs with their open sizes fixed, whose nodes correspond to those of the graphs one to one.
  Status fix_sizes() {
    for (const Graph* graph : graphs_) {
      Graph& sized = sized_.emplace_back(graph->clone());
      HUSSAR_TRY(fix_shapes(sized, options_.shapes));
      HUSSAR_TRY(infer_graph(sized));
    }
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

  Status find_works() {
    HUSSAR_TRY(fix_sizes());
    std::map<std::string, std::optional<size_t>> seen;  // by key, where in works_; nothing to measure: nowhere
    for (size_t graph = 0; graph < graphs_.size(); ++graph) {
      const RowCounts counts = find_row_counts(*graphs_[graph]);
      for (size_t i = 0; i < graphs_[graph]->nodes().size(); ++i) {
        const Node& sized = *sized_[graph].nodes()[i];
        if (!has_sizes(sized)) continue;
        const Problem problem{*graphs_[graph]->nodes()[i], target_};
        const std::string key = problem_key(problem, options_.shapes);
        auto [it, is_new] = seen.emplace(key, std::nullopt);
        if (is_new) it->second = find_work(problem, sized, key);
        if (!it->second) continue;
        Work& work = works_[*it->second];
        ++work.counts[graph];
        if (const auto hint = counts.find(&problem.node); hint != counts.end())
          work.all_rows = sized.output()->static_shape()->elements(0, hint->second.axes);
      }
    }
    return {};
  }

  // Gives its place in works_, where something is left to be measured.
  std::optional<size_t> find_work(const Problem& problem, const Node& sized, const std::string& key) {
    Work work{key, &sized, {}, rivals_of(choose(Problem{sized, target_}))};
    work.rows = expected_rows(sized.attributes);
    if (work.rivals.size() < 2) return std::nullopt;
    ++report_.problems;
    const bool is_measured = std::all_of(work.rivals.begin(), work.rivals.end(),
                                         [&](const Rival& rival) { return known_time(key, rival).has_value(); });
    if (is_measured || (!options_.all && cache_.find(machine_, key, settled_key(work)))) {
      knows_something_ = true;
      return std::nullopt;
    }
    // Open sizes are predicted otherwise: time may end when nothing but this one is measured.
    const Rival* usual = choose(problem).rival();
    for (size_t i = 0; usual != nullptr && i < work.rivals.size(); ++i) {
      if (work.rivals[i].tactic == usual->tactic && work.rivals[i].configuration.empty()) work.first = i;
    }
    works_.push_back(std::move(work));
    return works_.size() - 1;
  }

  std::optional<double> known_time(const std::string& key, const Rival& rival) const {
    return cache_.find(machine_, timing_key(key, rival), rival_key(rival, target_));
  }

  // Says in the cache that what is not measured of these rivals is not worth it, so that a plan that is built again
  // with the cache is the same.
  std::string settled_key(const Work& work) const {
    uint64_t hash = 14695981039346656037U;  // FNV-1a
    for (const Rival& rival : work.rivals) {
      for (char c : rival_key(rival, target_) + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
    }
    return fmt::format("settled@{:016x}", hash);
  }
  void settle(const MeasuringOrder& order) {
    for (size_t i = 0; i < works_.size(); ++i) {
      const WorkContest& contest = order.contests()[i];
      const auto best = contest.best();
      const bool is_open = std::any_of(contest.contenders.begin(), contest.contenders.end(),
                                       [](const Contender& one) { return !one.measured && !one.is_impossible; });
      if (best && is_open)
        cache_.record(machine_, works_[i].key, settled_key(works_[i]), *contest.contenders[*best].measured);
    }
  }

  std::vector<WorkContest> contests() {
    std::vector<WorkContest> list;
    std::map<const Tactic*, int> kernels;
    for (const Work& work : works_) {
      WorkContest& contest = list.emplace_back();
      contest.count = work.count();
      contest.first = work.first;
      bool sparse = false;
      for (const Rival& rival : work.rivals) {
        Contender& contender = contest.contenders.emplace_back();
        contender.predicted = rival.predicted;
        contender.kernel = kernels.emplace(rival.tactic, static_cast<int>(kernels.size())).first->second;
        contender.is_usual = rival.configuration.empty();
        contender.two_of_four = rival.tactic->two_of_four;
        sparse = sparse || rival.tactic->two_of_four;
        const auto known = known_time(work.key, rival);
        contender.is_impossible = known.value_or(0) >= kImpossible;
        if (!contender.is_impossible) contender.measured = known;
        knows_something_ = knows_something_ || known.has_value();
      }
      contest.least = work.rows * least_microseconds(*work.node, target_.sm, sparse);
    }
    return list;
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

  // What the next visits need is compiled, in their order.
  Status ask_for(const std::vector<MeasuringOrder::Visit>& visits, size_t most, CompileAhead& ahead) {
    std::vector<Packing::Job> jobs;
    for (const auto& visit : visits) {
      Work& work = works_[visit.contest];
      for (size_t rival : visit.contenders) {
        auto [it, is_new] = work.jobs.try_emplace(rival);
        if (is_new) {
          NodeCopy copy = copy_node(*work.node);
          HUSSAR_TRY(pack_copy(copy, work.rivals[rival], target_, it->second));
        }
        jobs.insert(jobs.end(), it->second.begin(), it->second.end());
      }
      if (jobs.size() >= most) break;
    }
    ahead.ask_for(std::move(jobs));
    return {};
  }

  // Numbers between -1 and 1, and any bytes: power, which bounds large products, goes by the bits that change. Indices
  // are 0.
  const Tensor& pattern_of(DType dtype) {
    Tensor& pattern = patterns_[dtype];
    if (pattern.valid()) return pattern;
    constexpr int64_t kPattern = 1 << 18;
    pattern = Tensor(dtype, {kPattern});
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
    return pattern;
  }

  Result<std::byte*> allocate_filled(DType dtype, size_t bytes) {
    std::byte* data = HUSSAR_TRY(device_->allocate(bytes));
    memory_.emplace_back(*device_, data);
    const Tensor& pattern = pattern_of(dtype);
    size_t filled = std::min(pattern.bytes(), bytes);
    HUSSAR_TRY(device_->copy_in(data, pattern.raw(), filled));
    for (; filled < bytes; filled = std::min(2 * filled, bytes))
      HUSSAR_TRY(device_->copy_within(data + filled, data, std::min(filled, bytes - filled)));
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

  // Packs the weights and finds the code.
  Status make_step(const Node& node, const Rival& rival, Contestant& contestant, CompileAhead& ahead) {
    std::vector<Packing::Job> jobs;
    contestant.copy = copy_node(node);
    HUSSAR_TRY(pack_copy(contestant.copy, rival, target_, jobs));
    for (const Packing::Job& job : jobs) job.constant->constant = HUSSAR_TRY(ahead.result(job.key));
    contestant.step = step_of(*contestant.copy.node, rival);
    return {};
  }

  // Constants come from the host, or from the first entry.
  Status add_entry(Contestant& contestant, size_t& scratch) {
    const Entry* first = contestant.entries.empty() ? nullptr : &contestant.entries.front();
    Entry entry;
    const Node& packed = *contestant.copy.node;
    std::vector<Operand> given;
    for (size_t i = 0; i < packed.inputs.size(); ++i) {
      const Value* value = packed.inputs[i];
      Operand operand = value != nullptr ? operand_of(*value) : Operand{};
      if (value != nullptr && value->is_constant()) {
        const Tensor& tensor = *value->constant;
        operand.data = const_cast<std::byte*>(tensor.raw());
        given.push_back(operand);
        entry.constants.emplace_back(*device_, HUSSAR_TRY(device_->allocate(tensor.bytes())));
        std::byte* data = entry.constants.back().data();
        if (first != nullptr) {
          HUSSAR_TRY(device_->copy_within(data, first->inputs[i].data, tensor.bytes()));
        } else {
          HUSSAR_TRY(device_->copy_in(data, tensor.raw(), tensor.bytes()));
        }
        operand.data = data;
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
    const Kernel* kernel = find_kernel(contestant.rival->tactic->kernel);
    entry.state = Tensor(DType::kUInt8, {static_cast<int64_t>(kernel->state_bytes) + 1});
    Prepare prepare{contestant.step, given, taken, target_.threads, entry.state.raw()};
    prepare.device = device_.get();
    prepare.twin = static_cast<int>(contestant.entries.size());
    if (packed.code != nullptr) prepare.code = {packed.code->constant->raw(), packed.code->constant->bytes()};
    if (kernel->prepare != nullptr) HUSSAR_TRY(kernel->prepare(prepare));
    scratch = std::max(scratch, prepare.scratch_bytes);
    contestant.entries.push_back(std::move(entry));
    return {};
  }

  // Sequences that follow each other, from half of the usual length to one and a half of it, as far as there is room.
  Status fill_starts(const Node& attention, const Operand& starts) {
    Tensor numbers(DType::kInt32, starts.shape);
    const auto length = static_cast<double>((*attention.inputs[0]->static_shape())[1]);
    const auto sequences = static_cast<double>(numbers.elements() - 1);
    double start = 0;
    for (int64_t i = 0; i < numbers.elements(); ++i) {
      numbers.data<int32_t>()[i] = static_cast<int32_t>(start);
      start += std::min(
          length, expected_rows(attention.attributes) * length * (0.5 + (static_cast<double>(i) + 0.5) / sequences));
    }
    HUSSAR_TRY(device_->copy_in(starts.data, numbers.raw(), numbers.bytes()));
    return device_->wait();
  }

  // What steps read and write: memory that grows to what the largest needs, and is the same for all rivals of a visit.
  Result<std::byte*> data_of(bool is_output, size_t index, const Value& value) {
    const Value* root = &value;
    int64_t offset = 0;
    for (; root->slice_of != nullptr; root = root->slice_of) offset += root->channel_offset;
    const size_t size = dtype_size(value.dtype);
    const size_t bytes = static_cast<size_t>(root->static_shape()->elements()) * size;
    auto& [held, data] = data_[std::tuple(is_output, index, value.dtype)];
    if (data == nullptr || held < bytes) {
      data = HUSSAR_TRY(allocate_filled(value.dtype, bytes));
      held = bytes;
      held_bytes_ += bytes;
    }
    return data + static_cast<size_t>(offset) * size;
  }

  // What the kernel is told about the rows that are needed.
  Result<RowCount> count_rows(const Work& work, Contestant& contestant) {
    if (work.all_rows <= 0) return RowCount{};
    contestant.row_count = DeviceMemory(*device_, HUSSAR_TRY(device_->allocate(sizeof(int32_t))));
    const auto needed = static_cast<int32_t>(std::ceil(work.rows * static_cast<double>(work.all_rows)));
    HUSSAR_TRY(
        device_->copy_in(contestant.row_count.data(), reinterpret_cast<const std::byte*>(&needed), sizeof(needed)));
    HUSSAR_TRY(device_->wait());
    return RowCount{reinterpret_cast<const int32_t*>(contestant.row_count.data()), work.all_rows};
  }

  Status make_contestant(const Work& work, const Rival& rival, CompileAhead& ahead, Contestant& contestant) {
    contestant.rival = &rival;
    const RowCount row_count = HUSSAR_TRY(count_rows(work, contestant));
    HUSSAR_TRY(make_step(*work.node, rival, contestant, ahead));
    const size_t bytes = std::max<size_t>(constant_bytes(*work.node), 1);
    const size_t twins = std::min({kMostTwins, static_cast<size_t>(work.count()), (kColdBytes + bytes - 1) / bytes});
    size_t scratch = 0;
    for (size_t i = 0; i < twins; ++i) HUSSAR_TRY(add_entry(contestant, scratch));
    contestant.scratch = DeviceMemory(*device_, HUSSAR_TRY(device_->allocate(scratch)));
    HUSSAR_TRY(device_->begin_recording());
    const int turns = (kLeastLaunches + static_cast<int>(contestant.entries.size()) - 1) /
                      static_cast<int>(contestant.entries.size());
    Status status;
    ThreadPool::Lease lease(ThreadPool::shared(), 1);
    for (int turn = 0; turn < turns && status; ++turn) {
      for (const Entry& entry : contestant.entries) {
        Run run{contestant.step, entry.inputs, entry.outputs, entry.state.raw(), contestant.scratch.data(), lease};
        run.device = device_.get();
        run.row_count = row_count;
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
  Status make_contestants(const MeasuringOrder::Visit& visit, MeasuringOrder& order, CompileAhead& ahead,
                          std::vector<Contestant>& contestants) {
    const Work& work = works_[visit.contest];
    for (size_t i : visit.contenders) {
      const Rival& rival = work.rivals[i];
      Contestant contestant;
      Status made = make_contestant(work, rival, ahead, contestant);
      if (made) {
        contestants.push_back(std::move(contestant));
        continue;
      }
      HUSSAR_TRY(device_->wait());  // copies to memory that goes with the contestant
      if (rival.tactic->vendor_library == nullptr) return made;
      // A configuration counts beside the usual way only.
      for (size_t k = 0; k < work.rivals.size(); ++k) {
        if (k != i && (work.rivals[k].tactic != rival.tactic || !rival.configuration.empty())) continue;
        cache_.record(machine_, timing_key(work.key, work.rivals[k]), rival_key(work.rivals[k], target_), kImpossible);
        order.rule_out(visit.contest, k);
      }
    }
    return {};
  }

  Result<double> time_of(const Contestant& contestant, int replays) {
    const double begin = now();
    for (int i = 0; i < replays; ++i) HUSSAR_TRY(device_->replay(contestant.recording));
    HUSSAR_TRY(device_->wait());
    return (now() - begin) * 1e6 / replays / contestant.launches;
  }

  Status sample(std::vector<Contestant>& contestants) {
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
    return {};
  }

  Status hold(const MeasuringOrder::Visit& visit, MeasuringOrder& order, CompileAhead& ahead) {
    if (held_bytes_ > kMostHeldBytes) forget_data();
    const Work& work = works_[visit.contest];
    std::vector<Contestant> contestants;
    HUSSAR_TRY(make_contestants(visit, order, ahead, contestants));
    HUSSAR_TRY(sample(contestants));
    // The device may be slower or faster than when the first was measured.
    double scale = 1;
    const auto known = order.contests()[visit.contest].contenders[visit.contenders.front()].measured;
    for (const Contestant& contestant : contestants) {
      const auto index = static_cast<size_t>(contestant.rival - work.rivals.data());
      const double time = score(contestant.samples);
      if (known && index == visit.contenders.front()) {
        if (time > 0) scale = *known / time;
        continue;
      }
      const std::string key = timing_key(work.key, *contestant.rival), rival = rival_key(*contestant.rival, target_);
      cache_.record(machine_, key, rival, std::max(time * scale, kLeastTime));
      order.record(visit.contest, index, *cache_.find(machine_, key, rival));
    }
    device_->drop_recordings();
    return {};
  }

  void forget_data() {
    data_.clear();
    memory_.clear();
    held_bytes_ = 0;
  }

  const std::span<const Graph* const> graphs_;
  const Target target_;
  const TuneOptions& options_;
  TimingCache& cache_;
  double begin_ = 0;
  std::string machine_;
  std::deque<Graph> sized_;
  std::unique_ptr<Device> device_;  // outlives all memory below
  std::vector<Work> works_;
  bool knows_something_ = false;  // of the graphs' work, before anything was measured
  std::map<DType, Tensor> patterns_;
  // Is an output, which, of what: bytes, memory.
  std::map<std::tuple<bool, size_t, DType>, std::pair<size_t, std::byte*>> data_;
  std::vector<DeviceMemory> memory_;
  size_t held_bytes_ = 0;
  TuneReport report_;
};

}  // namespace

Result<TuneReport> tune_device(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
                               TimingCache& cache) {
  return DeviceTuner(graphs, target, options, cache).run();
}

}  // namespace hussar
