// The choice between rivals.
#include "tactics/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "tactics/problem_grammar.h"

namespace hussar {
namespace {

// Below this a step may be over before a second thread has begun: one thread is a rival of its own.
constexpr double kSmallMicroseconds = 100;
// A measured rival must win by this much against the predicted winner, so that noise does not decide.
constexpr double kClearWin = 0.98;
// There are many configurations, and they differ by little: by more against the usual one of its kernel.
constexpr double kClearConfiguration = 0.97;
// Those that were a little faster by themselves made models slower (docs/benchmarks.md, "GPU"): alone they win by this
// much, nearer ones where the whole plan is faster with them.
constexpr double kClearLibrary = 0.9;
// 2:4 weights bring kernels with many tiles more into a contest of a few rounds, whose least time is luck in part.
constexpr double kClearSparse = 0.98;
// Predictions are off by less than that.
constexpr double kPredictionFactor = 3;
// Configurations of one kernel are predicted by the same model, which errs alike for all of them.
constexpr double kConfigurationFactor = 1.3;
// Tiles of a GPU waste different parts of it.
constexpr double kDeviceConfigurationFactor = 2;
// Work that is too short for its configurations to matter; on a GPU all work is short.
constexpr double kTinyMicroseconds = 20;

bool is_usual(const Rival& rival) { return rival.configuration.empty(); }

// A tactic with the threads of the problem's target: in its usual configuration, then in the others.
void add_rivals_with(Choice& choice, const Tactic& tactic, const Problem& problem) {
  const double predicted = tactic.cost(problem);
  choice.rivals.push_back({&tactic, problem.target.threads, {}, std::nullopt, predicted, std::nullopt});
  const bool is_tiny = predicted < kTinyMicroseconds && tactic.place == Place::kHost;
  if (tactic.configurations == nullptr || is_tiny) return;
  for (const Configuration& configuration : tactic.configurations(problem)) {
    choice.rivals.push_back(
        {&tactic, problem.target.threads, configuration.name, std::nullopt, configuration.predicted, std::nullopt});
  }
}

void add_rivals(Choice& choice, const Tactic& tactic, const Problem& problem) {
  Refusal refusal = tactic.supports(problem);
  if (refusal && *refusal == "op") return;  // made for another operator: not worth a line in the report
  const int threads = problem.target.threads;
  if (refusal) {
    choice.rivals.push_back({&tactic, threads, {}, refusal, 0, std::nullopt});
    return;
  }
  add_rivals_with(choice, tactic, problem);
  if (threads <= 1 || tactic.place == Place::kDevice || tactic.cost(problem) > kSmallMicroseconds) return;
  Problem alone = problem;
  alone.target.threads = 1;
  add_rivals_with(choice, tactic, alone);
}

// What was measured. A library may refuse on the device what its tactic takes.
void look_up(Choice& choice, const Problem& problem, const Timings& timings) {
  for (Rival& rival : choice.rivals) {
    if (rival.refusal) continue;
    rival.measured = timings(problem, rival);
    if (rival.tactic->vendor_library == nullptr || rival.measured.value_or(0) < kImpossible) continue;
    rival.measured = std::nullopt;
    rival.refusal = "the library does not take it on this GPU";
  }
}

// With --libraries only: what a library does, nothing else may.
void leave_to_libraries(Choice& choice) {
  auto is_taken = [](const Rival& rival) { return !rival.refusal && rival.tactic->vendor_library != nullptr; };
  if (std::none_of(choice.rivals.begin(), choice.rivals.end(), is_taken)) return;
  auto is_other = [](const Rival& rival) { return rival.tactic->vendor_library == nullptr && !is_usual(rival); };
  choice.rivals.erase(std::remove_if(choice.rivals.begin(), choice.rivals.end(), is_other), choice.rivals.end());
  for (Rival& rival : choice.rivals) {
    if (rival.tactic->vendor_library == nullptr && !rival.refusal) rival.refusal = "--libraries only";
  }
}

// What no kernel of the device can do, the host does.
void add_host_rivals(Choice& choice, const Problem& problem) {
  Problem on_host = problem;
  on_host.target.place = Place::kHost;
  for (const Tactic* tactic : all_tactics()) {
    if (tactic->place == Place::kHost) add_rivals(choice, *tactic, on_host);
  }
}

// Whether a measured rival may win: in a configuration only against its usual one, which stands before it.
bool is_eligible(const Choice& choice, size_t index) {
  if (is_usual(choice.rivals[index])) return true;
  size_t usual = index;
  while (!is_usual(choice.rivals[usual])) --usual;
  const std::optional<double>& measured = choice.rivals[usual].measured;
  return measured && *choice.rivals[index].measured < *measured * kClearConfiguration;
}

// What was measured, as rivals are held against each other.
double rated(const Rival& rival) {
  if (rival.tactic->vendor_library != nullptr) return *rival.measured / kClearLibrary;
  return rival.tactic->two_of_four ? *rival.measured / kClearSparse : *rival.measured;
}

// Whether the budget left out a 2:4 kernel that is predicted to win: the best dense one keeps the work.
bool must_be_measured(const Choice& choice, const Rival& rival) {
  return rival.tactic->two_of_four && choice.target.is_measured && !rival.measured;
}

double least_predicted(const Choice& choice) {
  double best = std::numeric_limits<double>::infinity();
  for (const Rival& rival : choice.rivals) {
    if (!rival.refusal && is_usual(rival)) best = std::min(best, rival.predicted);
  }
  return best;
}

void sort_by_prediction(const Choice& choice, std::vector<size_t>& order, size_t most) {
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return choice.rivals[a].predicted < choice.rivals[b].predicted; });
  order.resize(std::min(order.size(), most));
}

}  // namespace

double Problem::elements(const Value* value) {
  if (value == nullptr || !value->dims) return 0;
  double total = 1;
  for (const Dim& dim : *value->dims) total *= dim.is_constant() ? static_cast<double>(dim.value()) : 64;
  return total;
}

std::string Problem::to_string() const { return spell_problem(node); }

std::string Rival::name(const Target& target) const {
  std::string name(tactic->kernel);
  if (!configuration.empty()) name += fmt::format(":{}", configuration);
  return threads == target.threads ? name : fmt::format("{}/{}", name, threads);
}

Choice choose(const Problem& problem, const Timings& timings) {
  Choice choice{problem.target, {}, -1, {}};
  for (const Tactic* tactic : all_tactics()) {
    if (tactic->place == problem.target.place) add_rivals(choice, *tactic, problem);
  }
  if (timings) look_up(choice, problem, timings);
  if (problem.target.only_libraries) leave_to_libraries(choice);
  const bool is_refused =
      std::all_of(choice.rivals.begin(), choice.rivals.end(), [](const Rival& rival) { return bool(rival.refusal); });
  if (problem.target.place == Place::kDevice && is_refused) {
    add_host_rivals(choice, problem);
    if (timings) look_up(choice, problem, timings);
  }
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (rival.refusal || !is_usual(rival)) continue;
    if (must_be_measured(choice, rival)) continue;
    if (choice.chosen < 0 || rival.predicted < choice.rival()->predicted) choice.chosen = static_cast<int>(i);
  }
  if (choice.chosen < 0 || !choice.rival()->measured) return choice;
  double best = rated(*choice.rival()) * (choice.rival()->tactic->two_of_four ? 1 : kClearWin);
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (!rival.measured || rated(rival) >= best || !is_eligible(choice, i)) continue;
    best = rated(rival);
    choice.chosen = static_cast<int>(i);
  }
  return choice;
}

bool has_own_kernel(const Problem& problem) {
  const Tactic* tactic = choose(problem).tactic();
  return tactic != nullptr && tactic->place == problem.target.place;
}

double least_time(const Problem& problem) {
  double least = std::numeric_limits<double>::infinity();
  for (const Rival& rival : choose(problem).rivals) {
    const bool takes = !rival.refusal && is_usual(rival) && rival.tactic->place == problem.target.place;
    if (takes) least = std::min(least, rival.predicted);
  }
  return least;
}

std::vector<size_t> contenders(const Choice& choice, size_t most) {
  std::vector<size_t> order;
  if (choice.chosen < 0) return order;
  const double best = least_predicted(choice);
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (!rival.refusal && is_usual(rival) && rival.predicted <= best * kPredictionFactor) order.push_back(i);
  }
  sort_by_prediction(choice, order, most);
  return order;
}

std::vector<size_t> configurations_of(const Choice& choice, size_t most) {
  std::vector<size_t> order;
  if (choice.chosen < 0 || most == 0) return order;
  auto usual = static_cast<size_t>(choice.chosen);
  while (!is_usual(choice.rivals[usual])) --usual;
  const bool on_device = choice.rivals[usual].tactic->place == Place::kDevice;
  const double most_predicted =
      choice.rivals[usual].predicted * (on_device ? kDeviceConfigurationFactor : kConfigurationFactor);
  for (size_t i = usual + 1; i < choice.rivals.size() && !is_usual(choice.rivals[i]); ++i) {
    if (choice.rivals[i].predicted <= most_predicted) order.push_back(i);
  }
  sort_by_prediction(choice, order, most - 1);
  order.insert(order.begin(), usual);
  return order;
}

// Why a rival that could do the work does not; `best` is the least predicted time. Nothing is chosen where the
// reference evaluator is wanted.
static std::string why_not(const Choice& choice, const Rival& rival, double best) {
  const Rival* chosen = choice.rival();
  if (chosen == nullptr) return "not wanted";
  const auto place = static_cast<size_t>(&rival - choice.rivals.data());
  if (std::find(choice.in_plan.begin(), choice.in_plan.end(), place) != choice.in_plan.end())
    return "not faster in the whole plan";
  if (rival.measured) {
    const bool ahead = chosen->measured && *rival.measured < *chosen->measured;
    if (ahead && rival.tactic->vendor_library != nullptr)
      return fmt::format("a library ahead by less than {:.0f} %", 100 * (1 - kClearLibrary));
    if (ahead && rival.tactic->two_of_four && !chosen->tactic->two_of_four)
      return fmt::format("2:4 ahead by less than {:.0f} %", 100 * (1 - kClearSparse));
    if (ahead && !is_usual(rival)) return fmt::format("ahead by less than {:.0f} %", 100 * (1 - kClearConfiguration));
    return ahead ? fmt::format("within {:.0f} % of the predicted winner", 100 * (1 - kClearWin)) : "slower";
  }
  if (rival.predicted <= best * kConfigurationFactor && !is_usual(rival)) {
    // Predictions do not tell configurations apart well enough to choose one.
    if (!chosen->measured) return "not measured: taken only when measured to be faster";
    const bool is_kin = rival.tactic == chosen->tactic && rival.threads == chosen->threads;
    return is_kin ? "not measured" : "not measured: its kernel lost";
  }
  if (is_usual(rival) && must_be_measured(choice, rival)) return "2:4, not measured";
  if (is_usual(rival) && !chosen->measured) return rival.predicted > chosen->predicted ? "slower" : "predicted as fast";
  if ((is_usual(rival) && rival.predicted <= best * kPredictionFactor) || best <= 0) return "not measured";
  return fmt::format("not measured: predicted {:.1f} times the best", rival.predicted / best);
}

std::string describe(const Choice& choice) {
  std::string text = choice.chosen < 0 ? "reference: no kernel takes it" : "";
  const double best = least_predicted(choice);
  for (const Rival& rival : choice.rivals) {
    std::string line = rival.name(choice.target) + ": ";
    if (rival.refusal) {
      line += "refused, " + *rival.refusal;
    } else {
      line += &rival == choice.rival() ? "chosen" : why_not(choice, rival, best);
      if (rival.measured) line += fmt::format(", measured {:.1f} us", *rival.measured);
      line += fmt::format(", predicted {:.1f} us", rival.predicted);
    }
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

// Takes ", WORD NUMBER us" off the end of a line.
static std::optional<double> take_time(std::string_view word, std::string_view& line) {
  const size_t at = line.rfind(fmt::format(", {} ", word));
  if (at == std::string_view::npos || !line.ends_with(" us")) return std::nullopt;
  const std::string number(line.substr(at + word.size() + 3));
  line = line.substr(0, at);
  return std::strtod(number.c_str(), nullptr);
}

std::vector<RivalLine> read_description(std::string_view text) {
  std::vector<RivalLine> lines;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    RivalLine rival;
    rival.name = line.substr(0, colon);
    line.remove_prefix(colon + 2);
    rival.is_refused = line.starts_with("refused, ");
    if (!rival.is_refused) {
      rival.predicted = take_time("predicted", line);
      rival.measured = take_time("measured", line);
    }
    rival.verdict = line;
    lines.push_back(std::move(rival));
  }
  return lines;
}

}  // namespace hussar
