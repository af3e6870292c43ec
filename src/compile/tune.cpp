// Measuring rivals.
#include "compile/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <unordered_map>

#include "backends/cpu/cpu_identity.h"
#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/freeze.h"
#include "compile/sample.h"
#include "plan/kernel.h"
#include "runtime/session.h"

namespace hussar {
namespace {

constexpr size_t kMostRivals = 4;
constexpr int kLeastRounds = 5, kMostRounds = 30;
// Where times are not only compared within one problem.
constexpr int kLeastRoundsOfAll = 15;
// A leader that is ahead by this much after kLeastRounds stays the leader.
constexpr double kClearLead = 0.95;

std::string machine_of(const Target& target) {
  return fmt::format("{} {} threads={}", cpu::cpu_identity(), cpu::isa_name(static_cast<cpu::Isa>(target.isa)),
                     target.threads);
}

// The version of a kernel counts, and the sizes where the problem has symbols.
std::string rival_key(const Rival& rival, const Target& target) {
  const Kernel* kernel = find_kernel(rival.tactic->kernel);
  return fmt::format("{}@{}", rival.name(target), kernel != nullptr ? kernel->version : 0);
}

bool has_symbols(const Node& node) {
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && value->dims && !value->static_shape()) return true;
    }
  }
  return false;
}

std::string problem_key(const Problem& problem, const NamedShapes& shapes) {
  std::string key = problem.to_string();
  return has_symbols(problem.node) ? key + " at " + spell_shapes(shapes) : key;
}

// Between the least, which can be luck, and the median, which counts bursts of other work.
double score(std::vector<double> samples) {
  if (samples.empty()) return 0;
  auto quarter = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 4);
  std::nth_element(samples.begin(), quarter, samples.end());
  return *quarter;
}

struct Contest {
  std::vector<Rival> rivals;
  std::vector<std::vector<double>> samples;  // per rival and run: the mean time of the steps with this problem

  bool is_decided() const {
    std::vector<double> scores;
    for (const auto& list : samples) scores.push_back(score(list));
    std::sort(scores.begin(), scores.end());
    return scores.size() < 2 || scores[0] <= scores[1] * kClearLead;
  }
};

// One plan of the model, in which every contested problem is in the hands of one of its rivals.
struct Variant {
  struct Entry {
    Contest* contest;
    size_t rival;
  };
  std::vector<std::optional<Entry>> steps;
  std::unique_ptr<Session> session;
};

class Tuner {
 public:
  Tuner(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options, TimingCache& cache)
      : graphs_(graphs), target_(target), options_(options), cache_(cache) {}

  Result<TuneReport> run() {
    auto begin = Clock::now();
    for (const Graph* graph : graphs_) find_contests(*graph);
    report_.measured = static_cast<int>(contests_.size());
    if (contests_.empty()) return report_;
    for (const Graph* graph : graphs_) HUSSAR_TRY(make_variants(*graph));
    HUSSAR_TRY(make_inputs());
    if (report_.skipped.empty()) HUSSAR_TRY(measure(begin));
    for (auto& [key, contest] : contests_) {
      for (size_t i = 0; i < contest.rivals.size() && report_.skipped.empty(); ++i) {
        cache_.record(machine_of(target_), key, rival_key(contest.rivals[i], target_), score(contest.samples[i]));
      }
    }
    report_.seconds = seconds_since(begin);
    return report_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  void find_contests(const Graph& graph) {
    Timings known = timings_from(cache_, target_, options_.shapes);
    for (const auto& node : graph.nodes()) {
      Problem problem{*node, target_};
      Choice choice = choose(problem, known);
      std::vector<size_t> order = contenders(choice, kMostRivals);
      if (order.size() < (options_.all ? 1 : 2)) continue;
      std::string key = problem_key(problem, options_.shapes);
      if (!seen_.insert(key).second) continue;
      ++report_.problems;
      bool measured =
          std::all_of(order.begin(), order.end(), [&](size_t i) { return choice.rivals[i].measured.has_value(); });
      if (measured) continue;
      Contest& contest = contests_[key];
      for (size_t i : order) contest.rivals.push_back(choice.rivals[i]);
      contest.samples.resize(order.size());
    }
  }

  Status make_variants(const Graph& graph) {
    size_t count = 0;
    for (const auto& node : graph.nodes()) {
      auto it = contests_.find(problem_key(Problem{*node, target_}, options_.shapes));
      if (it != contests_.end()) count = std::max(count, it->second.rivals.size());
    }
    for (size_t v = 0; v < count; ++v) {
      Graph copy = graph.clone();
      std::unordered_map<const Node*, Variant::Entry> assigned;
      auto chooser = [&](const Problem& problem) {
        Choice choice = choose(problem);
        auto it = contests_.find(problem_key(problem, options_.shapes));
        if (it == contests_.end()) return choice;
        Contest& contest = it->second;
        const size_t pick = v % contest.rivals.size();
        assigned[&problem.node] = {&contest, pick};
        for (size_t i = 0; i < choice.rivals.size(); ++i) {
          const Rival& rival = choice.rivals[i];
          bool same = rival.tactic == contest.rivals[pick].tactic && rival.threads == contest.rivals[pick].threads;
          if (same) choice.chosen = static_cast<int>(i);
        }
        return choice;
      };
      auto plan = std::make_shared<Plan>(HUSSAR_TRY(freeze(copy, target_, chooser)));
      plan->meta["target"] = std::string("cpu:") + cpu::isa_name(static_cast<cpu::Isa>(target_.isa));
      plan->meta["threads"] = std::to_string(target_.threads);
      Variant& variant = variants_.emplace_back();
      for (const auto& node : copy.nodes()) {
        auto it = assigned.find(node.get());
        variant.steps.push_back(it == assigned.end() ? std::nullopt : std::optional(it->second));
      }
      variant.session = HUSSAR_TRY(Session::create(plan));
    }
    return {};
  }

  Status make_inputs() {
    auto inputs = random_inputs(input_facts(*graphs_.front()), options_.shapes, 1);
    if (!inputs) {
      report_.skipped = "no inputs can be made up: " + inputs.error().message;
      return {};
    }
    inputs_ = std::move(*inputs);
    return {};
  }

  Status measure(Clock::time_point begin) {
    // The first run of each touches its memory.
    for (Variant& variant : variants_) {
      if (auto outputs = variant.session->run_in_order(inputs_); !outputs) {
        // Made-up inputs need not suit a model.
        report_.skipped = "made-up inputs do not suit the model: " + outputs.error().message;
        return {};
      }
    }
    for (int round = 0; round < kMostRounds; ++round) {
      const bool late = seconds_since(begin) >= options_.seconds;
      if (round > 0 && late) break;
      if (round >= (options_.all ? kLeastRoundsOfAll : kLeastRounds) && all_decided()) break;
      for (size_t i = 0; i < variants_.size(); ++i) {
        HUSSAR_TRY(sample(variants_[(i + static_cast<size_t>(round)) % variants_.size()]));
        tell(seconds_since(begin), round + static_cast<double>(i + 1) / static_cast<double>(variants_.size()));
      }
      ++report_.rounds;
    }
    return {};
  }

  void tell(double seconds, double rounds) const {
    if (!options_.progress) return;
    const double by_time = options_.seconds > 0 ? seconds / options_.seconds : 1;
    options_.progress(std::min(1.0, std::max(by_time, rounds / kMostRounds)));
  }

  bool all_decided() const {
    return std::all_of(contests_.begin(), contests_.end(), [](const auto& entry) { return entry.second.is_decided(); });
  }

  Status sample(Variant& variant) {
    std::map<std::pair<Contest*, size_t>, std::pair<double, int>> sums;
    const PlanStep* first = variant.session->plan().graph.steps.data();
    variant.session->set_profiler([&](const StepTime& time) {
      const auto& entry = variant.steps[static_cast<size_t>(time.step - first)];
      if (!entry) return;
      auto& [sum, count] = sums[{entry->contest, entry->rival}];
      sum += time.microseconds;
      ++count;
    });
    auto outputs = variant.session->run_in_order(inputs_);
    variant.session->set_profiler(nullptr);
    HUSSAR_CHECK(outputs.has_value(), outputs.error().code, "tuning: {}", outputs.error().message);
    for (const auto& [key, total] : sums) key.first->samples[key.second].push_back(total.first / total.second);
    return {};
  }

  const std::span<const Graph* const> graphs_;
  const Target target_;
  const TuneOptions& options_;
  TimingCache& cache_;
  std::set<std::string> seen_;               // problems
  std::map<std::string, Contest> contests_;  // by problem
  std::vector<Variant> variants_;
  std::vector<Tensor> inputs_;
  TuneReport report_;
};

}  // namespace

std::string TuneReport::to_string() const {
  if (!skipped.empty()) return "skipped: " + skipped;
  return fmt::format("{} problems, {} measured, {} rounds, {:.2f} s", problems, measured, rounds, seconds);
}

void TuneReport::add(const TuneReport& other) {
  problems = std::max(problems, other.problems);
  measured += other.measured;
  rounds += other.rounds;
  seconds += other.seconds;
  if (skipped.empty()) skipped = other.skipped;
}

Result<TuneReport> tune(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
                        TimingCache& cache) {
  return Tuner(graphs, target, options, cache).run();
}

Timings timings_from(const TimingCache& cache, const Target& target, const NamedShapes& shapes) {
  return [&cache, shapes, target, machine = machine_of(target)](const Problem& problem, const Rival& rival) {
    return cache.find(machine, problem_key(problem, shapes), rival_key(rival, target));
  };
}

}  // namespace hussar
