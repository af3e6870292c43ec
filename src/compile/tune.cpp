// Measuring rivals.
#include "compile/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <unordered_map>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/copy_node.h"
#include "compile/freeze.h"
#include "compile/sample.h"
#include "compile/score.h"
#include "compile/timing_keys.h"
#include "compile/tune_device.h"
#include "plan/kernel.h"
#include "runtime/session.h"

namespace hussar {
namespace {

constexpr size_t kMostRivals = 4, kMostConfigurations = 4;
constexpr int kLeastRounds = 5, kMostRounds = 30;
// Where times are not only compared within one problem.
constexpr int kLeastRoundsOfAll = 15;
// Configurations differ by little: where none is ahead of the usual one soon, that stays.
constexpr int kLeastRoundsOfConfigurations = 7, kMostRoundsOfConfigurations = 15;
// A leader that is ahead by this much after the least number of rounds stays the leader.
constexpr double kClearLead = 0.95;

struct Contest {
  std::vector<Rival> rivals;
  bool is_configured = false;                // between configurations of one kernel
  std::vector<std::vector<double>> samples;  // per rival and run: the mean time of the steps with this problem

  std::vector<double> scores() const {
    std::vector<double> list;
    for (const auto& rival : samples) list.push_back(score(rival));
    return list;
  }
  bool is_decided() const {
    std::vector<double> sorted = scores();
    std::sort(sorted.begin(), sorted.end());
    return sorted.size() < 2 || sorted[0] <= sorted[1] * kClearLead;
  }
  // Of a configuration: no better than the usual one's where it did not win three of four rounds against that.
  double paired_score(size_t rival) const {
    const double own = score(samples[rival]), usual = score(samples[0]);
    const size_t rounds = std::min(samples[rival].size(), samples[0].size());
    size_t won = 0;
    for (size_t i = 0; i < rounds; ++i) won += samples[rival][i] < samples[0][i] ? 1 : 0;
    return 4 * won >= 3 * rounds ? own : std::max(own, usual);
  }
  // Between the configurations of one kernel, of which the first is the usual one.
  bool is_settled() const {
    const std::vector<double> list = scores();
    const double best = *std::min_element(list.begin(), list.end());
    return best >= list[0] || best <= list[0] * kClearLead;
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
    begin_ = Clock::now();
    for (const Graph* graph : graphs_) find_contests(*graph);
    for (const Graph* graph : graphs_) HUSSAR_TRY(make_variants(*graph));
    HUSSAR_TRY(hold(options_.all ? Stage{kLeastRoundsOfAll, kMostRounds, 0, 1, &Contest::is_decided}
                                 : Stage{kLeastRounds, kMostRounds, 0, 0.6, &Contest::is_decided}));
    // What a configuration brings is too little to decide between forms of the graph, and must not cost a first round.
    if (!options_.all && report_.skipped.empty() && seconds() < options_.seconds) {
      for (const Graph* graph : graphs_) find_configurations(*graph);
      for (const Graph* graph : graphs_) HUSSAR_TRY(make_configured_variants(*graph));
      HUSSAR_TRY(hold({kLeastRoundsOfConfigurations, kMostRoundsOfConfigurations, 0.6, 0.4, &Contest::is_settled}));
    }
    report_.problems = static_cast<int>(seen_.size());
    report_.measured = static_cast<int>(measured_.size());
    report_.seconds = seconds();
    return report_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  // How long contests go on, and which part of the progress bar they take.
  struct Stage {
    int least_rounds, most_rounds;
    double progress_begin, progress_part;
    bool (Contest::*is_over)() const;
  };

  // Runs the variants that were made for the contests, and remembers what came out.
  Status hold(const Stage& stage) {
    if (contests_.empty()) return {};
    if (inputs_.empty()) HUSSAR_TRY(make_inputs());
    if (report_.skipped.empty()) HUSSAR_TRY(measure(stage));
    if (report_.skipped.empty()) record();
    contests_.clear();
    variants_.clear();
    return {};
  }

  // What was measured in another stage is not measured again: the times of this one, when the machine may have been
  // slower or faster, are brought to the scale of the first rival's known time.
  void record() {
    const std::string machine = machine_of(target_);
    for (auto& [key, contest] : contests_) {
      measured_.insert(key);
      const std::vector<double> scores = contest.scores();
      const auto known = cache_.find(machine, key, rival_key(contest.rivals[0], target_));
      const double scale = known && contest.is_configured && scores[0] > 0 ? *known / scores[0] : 1;
      for (size_t i = known && contest.is_configured ? 1 : 0; i < scores.size(); ++i) {
        const double time = contest.is_configured ? contest.paired_score(i) : scores[i];
        cache_.record(machine, key, rival_key(contest.rivals[i], target_), time * scale);
      }
    }
  }

  void find_contests(const Graph& graph) {
    Timings known = timings_from(cache_, target_, options_.shapes);
    for (const auto& node : graph.nodes()) {
      Problem problem{*node, target_};
      Choice choice = choose(problem, known);
      std::vector<size_t> order = contenders(choice, kMostRivals);
      if (order.size() < (options_.all ? 1 : 2)) continue;
      std::string key = problem_key(problem, options_.shapes);
      if (seen_.insert(key).second) add_contest(key, choice, order);
    }
  }

  void add_contest(const std::string& key, const Choice& choice, const std::vector<size_t>& order) {
    bool measured =
        std::all_of(order.begin(), order.end(), [&](size_t i) { return choice.rivals[i].measured.has_value(); });
    if (measured) return;
    Contest& contest = contests_[key];
    for (size_t i : order) contest.rivals.push_back(choice.rivals[i]);
    contest.samples.resize(order.size());
  }

  // The configurations of what has won so far.
  void find_configurations(const Graph& graph) {
    Timings known = timings_from(cache_, target_, options_.shapes);
    for (const auto& node : graph.nodes()) {
      Problem problem{*node, target_};
      Choice choice = choose(problem, known);
      std::vector<size_t> order = configurations_of(choice, kMostConfigurations);
      std::string key = problem_key(problem, options_.shapes);
      if (order.size() < 2 || contests_.count(key) != 0) continue;
      seen_.insert(key);
      add_contest(key, choice, order);
      if (auto it = contests_.find(key); it != contests_.end()) it->second.is_configured = true;
    }
  }

  Contest* contest_of(const Problem& problem) {
    auto it = contests_.find(problem_key(problem, options_.shapes));
    return it == contests_.end() ? nullptr : &it->second;
  }

  size_t most_rivals(const Graph& graph) {
    size_t most = 0;
    for (const auto& node : graph.nodes()) {
      const Contest* contest = contest_of(Problem{*node, target_});
      if (contest != nullptr) most = std::max(most, contest->rivals.size());
    }
    return most;
  }

  // The graph as a plan in which `pick` names the rival of every contest, and which contest each step belongs to.
  Result<Plan> make_plan(const Graph& graph, const Timings& known, const std::function<size_t(const Contest&)>& pick,
                         std::vector<Contest*>& contests) {
    Graph copy = graph.clone();
    std::unordered_map<const Node*, Contest*> assigned;
    auto chooser = [&](const Problem& problem) {
      Choice choice = choose(problem, known);
      Contest* contest = contest_of(problem);
      if (contest == nullptr) return choice;
      assigned[&problem.node] = contest;
      const std::string wanted = contest->rivals[pick(*contest)].name(target_);
      for (size_t i = 0; i < choice.rivals.size(); ++i) {
        if (choice.rivals[i].name(target_) == wanted) choice.chosen = static_cast<int>(i);
      }
      return choice;
    };
    Plan plan = HUSSAR_TRY(freeze(copy, target_, chooser));
    plan.meta["target"] = std::string("cpu:") + cpu::isa_name(static_cast<cpu::Isa>(target_.isa));
    plan.meta["threads"] = std::to_string(target_.threads);
    for (const auto& node : copy.nodes()) {
      auto it = assigned.find(node.get());
      contests.push_back(it == assigned.end() ? nullptr : it->second);
    }
    return plan;
  }

  Status add_variant(Plan plan, const std::vector<Contest*>& contests,
                     const std::function<size_t(const Contest&)>& pick) {
    Variant& variant = variants_.emplace_back();
    for (Contest* contest : contests) {
      variant.steps.push_back(contest == nullptr ? std::nullopt
                                                 : std::optional(Variant::Entry{contest, pick(*contest)}));
    }
    variant.session = HUSSAR_TRY(Session::create(std::make_shared<Plan>(std::move(plan))));
    return {};
  }

  Status make_variants(const Graph& graph) {
    for (size_t v = 0, count = most_rivals(graph); v < count; ++v) {
      auto pick = [v](const Contest& contest) { return v % contest.rivals.size(); };
      std::vector<Contest*> contests;
      Plan plan = HUSSAR_TRY(make_plan(graph, nullptr, pick, contests));
      HUSSAR_TRY(add_variant(std::move(plan), contests, pick));
    }
    return {};
  }

  // Configurations differ in an attribute of their step only: all these plans share the weights of the first.
  Status make_configured_variants(const Graph& graph) {
    const size_t count = most_rivals(graph);
    if (count == 0) return {};
    std::vector<Contest*> contests;
    auto usual = [](const Contest&) { return size_t{0}; };
    const Plan plan = HUSSAR_TRY(make_plan(graph, timings_from(cache_, target_, options_.shapes), usual, contests));
    for (size_t v = 0; v < count; ++v) {
      auto pick = [v](const Contest& contest) { return v % contest.rivals.size(); };
      Plan variant{plan.meta, copy_graph(plan.graph), plan.constants, plan.owner, plan.file_bytes};
      for (size_t i = 0; i < contests.size(); ++i) {
        if (contests[i] == nullptr) continue;
        const Rival& rival = contests[i]->rivals[pick(*contests[i])];
        Attributes& attributes = variant.graph.steps[i].attributes;
        attributes.erase(kConfigurationAttribute);
        if (!rival.configuration.empty()) attributes.set(kConfigurationAttribute, std::string(rival.configuration));
      }
      HUSSAR_TRY(add_variant(std::move(variant), contests, pick));
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

  Status measure(const Stage& stage) {
    // The first run of each touches its memory.
    for (Variant& variant : variants_) {
      if (auto outputs = variant.session->run_in_order(inputs_); !outputs) {
        // Made-up inputs need not suit a model.
        report_.skipped = "made-up inputs do not suit the model: " + outputs.error().message;
        return {};
      }
    }
    auto is_over = [&](const auto& entry) { return (entry.second.*stage.is_over)(); };
    for (int round = 0; round < stage.most_rounds; ++round) {
      if (round > 0 && seconds() >= options_.seconds) break;
      if (round >= stage.least_rounds && std::all_of(contests_.begin(), contests_.end(), is_over)) break;
      for (size_t i = 0; i < variants_.size(); ++i) {
        HUSSAR_TRY(sample(variants_[(i + static_cast<size_t>(round)) % variants_.size()]));
        const double rounds = round + static_cast<double>(i + 1) / static_cast<double>(variants_.size());
        tell(stage.progress_begin + stage.progress_part * rounds / stage.most_rounds);
      }
      ++report_.rounds;
    }
    return {};
  }

  void tell(double done) const {
    if (!options_.progress) return;
    const double by_time = options_.seconds > 0 ? seconds() / options_.seconds : 1;
    options_.progress(std::min(1.0, std::max(by_time, done)));
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
  Clock::time_point begin_;
  std::set<std::string> seen_, measured_;    // problems
  std::map<std::string, Contest> contests_;  // by problem
  std::vector<Variant> variants_;
  std::vector<Tensor> inputs_;
  TuneReport report_;
};

}  // namespace

std::string TuneReport::to_string() const {
  if (!skipped.empty()) return "skipped: " + skipped;
  std::string text = fmt::format("{} problems, {} measured, {} rounds, {:.2f} s", problems, measured, rounds, seconds);
  if (in_plan > 0) text += fmt::format("; {} decided by the whole plan", in_plan);
  if (changed > 0) text += fmt::format(", {} of them differently: {:.1f} % faster", changed, 100 * gain);
  return text;
}

void TuneReport::add(const TuneReport& other) {
  problems = std::max(problems, other.problems);
  measured = std::min(measured + other.measured, problems);  // most are the same ones
  rounds += other.rounds;
  seconds += other.seconds;
  if (skipped.empty()) skipped = other.skipped;
}

Result<TuneReport> tune(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
                        TimingCache& cache) {
  if (target.place == Place::kDevice) return tune_device(graphs, target, options, cache);
  return Tuner(graphs, target, options, cache).run();
}

Timings timings_from(const TimingCache& cache, const Target& target, const NamedShapes& shapes) {
  // Nothing is known of an empty cache; to ask for a device's name takes time.
  const bool is_empty = cache.size() == 0 && target.place == Place::kDevice;
  return [&cache, shapes, target, machine = is_empty ? "" : machine_of(target)](const Problem& problem,
                                                                                const Rival& rival) {
    return cache.find(machine, timing_key(problem_key(problem, shapes), rival), rival_key(rival, target));
  };
}

}  // namespace hussar
