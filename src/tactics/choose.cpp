// The choice between rivals.
#include "tactics/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "tactics/problem_grammar.h"

namespace hussar {
namespace {

// Below this a step may be over before a second thread has begun: one thread is a rival of its own.
constexpr double kSmallMicroseconds = 100;
// A measured rival must win by this much against the predicted winner, so that noise does not decide.
constexpr double kClearWin = 0.98;
// Predictions are off by less than that.
constexpr double kPredictionFactor = 3;

void add_rivals(Choice& choice, const Tactic& tactic, const Problem& problem) {
  Refusal refusal = tactic.supports(problem);
  if (refusal && *refusal == "op") return;  // made for another operator: not worth a line in the report
  const int threads = problem.target.threads;
  const double predicted = refusal ? 0 : tactic.cost(problem);
  choice.rivals.push_back({&tactic, threads, refusal, predicted, std::nullopt});
  if (refusal || threads <= 1 || predicted > kSmallMicroseconds) return;
  Problem alone = problem;
  alone.target.threads = 1;
  choice.rivals.push_back({&tactic, 1, std::nullopt, tactic.cost(alone), std::nullopt});
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
  return threads == target.threads ? name : fmt::format("{}/{}", name, threads);
}

Choice choose(const Problem& problem, const Timings& timings) {
  Choice choice{problem.target, {}, -1};
  for (const Tactic* tactic : all_tactics()) add_rivals(choice, *tactic, problem);
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    Rival& rival = choice.rivals[i];
    if (rival.refusal) continue;
    if (timings) rival.measured = timings(problem, rival);
    if (choice.chosen < 0 || rival.predicted < choice.rival()->predicted) choice.chosen = static_cast<int>(i);
  }
  if (choice.chosen < 0 || !choice.rival()->measured) return choice;
  double best = *choice.rival()->measured * kClearWin;
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (!rival.measured || *rival.measured >= best) continue;
    best = *rival.measured;
    choice.chosen = static_cast<int>(i);
  }
  return choice;
}

std::vector<size_t> contenders(const Choice& choice, size_t most) {
  std::vector<size_t> order;
  if (choice.chosen < 0) return order;
  double best = choice.rival()->predicted;
  for (const Rival& rival : choice.rivals) {
    if (!rival.refusal) best = std::min(best, rival.predicted);
  }
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (!rival.refusal && rival.predicted <= best * kPredictionFactor) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return choice.rivals[a].predicted < choice.rivals[b].predicted; });
  order.resize(std::min(order.size(), most));
  return order;
}

// Why a rival that could do the work does not; `best` is the least predicted time. Nothing is chosen where the
// reference evaluator is wanted.
static std::string why_not(const Rival& rival, const Rival* chosen, double best) {
  if (chosen == nullptr) return "not wanted";
  if (rival.measured) {
    const bool ahead = chosen->measured && *rival.measured < *chosen->measured;
    return ahead ? fmt::format("within {:.0f} % of the predicted winner", 100 * (1 - kClearWin)) : "slower";
  }
  if (!chosen->measured) return rival.predicted > chosen->predicted ? "slower" : "predicted as fast";
  if (rival.predicted <= best * kPredictionFactor || best <= 0) return "not measured";
  return fmt::format("not measured: predicted {:.1f} times the best", rival.predicted / best);
}

std::string describe(const Choice& choice) {
  std::string text = choice.chosen < 0 ? "reference: no kernel takes it" : "";
  double best = std::numeric_limits<double>::infinity();
  for (const Rival& rival : choice.rivals) {
    if (!rival.refusal) best = std::min(best, rival.predicted);
  }
  for (const Rival& rival : choice.rivals) {
    std::string line = rival.name(choice.target) + ": ";
    if (rival.refusal) {
      line += "refused, " + *rival.refusal;
    } else {
      line += &rival == choice.rival() ? "chosen" : why_not(rival, choice.rival(), best);
      if (rival.measured) line += fmt::format(", measured {:.1f} us", *rival.measured);
      line += fmt::format(", predicted {:.1f} us", rival.predicted);
    }
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

}  // namespace hussar
