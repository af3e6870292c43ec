// Contests between kernels in a whole plan.
#include "compile/plan_contests.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "compile/timing_keys.h"

namespace hussar {
namespace {

// Single times of a whole plan scatter by 0.3 %, so their ratios by 0.4 % and the median of fifteen by 0.14 %.
constexpr size_t kLeastPairs = 5, kMostPairs = 15;
constexpr double kClearInPlan = 0.996;
// Ahead or not after the least number of pairs: no more of them would change it.
constexpr double kPlainlyAhead = 0.985, kNotAhead = 1;
// How much slower alone a rival may be: kernels of a library and our own are launched in different ways, so that their
// times alone say less of each other.
constexpr double kNear = 1.08, kNearLibrary = 1.25;
// A problem that takes less of the plan cannot change its time by what could be told from noise.
constexpr double kLeastPart = 0.01;

double median(std::vector<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

bool is_library(const Rival& rival) { return rival.tactic->vendor_library != nullptr; }

// Of our own kernels and of those of libraries the one that comes nearest to the winner, the nearer one first.
std::vector<size_t> challengers(const Choice& choice) {
  const Rival& winner = *choice.rival();
  std::optional<size_t> best[2];
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    if (rival.refusal || !rival.measured || &rival == &winner || rival.tactic->place != Place::kDevice) continue;
    const double near = is_library(rival) || is_library(winner) ? kNearLibrary : kNear;
    if (*rival.measured > near * *winner.measured) continue;
    auto& place = best[is_library(rival) ? 1 : 0];
    if (!place || *rival.measured < *choice.rivals[*place].measured) place = i;
  }
  std::vector<size_t> list;
  for (const auto& place : best) {
    if (place) list.push_back(*place);
  }
  std::stable_sort(list.begin(), list.end(),
                   [&](size_t a, size_t b) { return *choice.rivals[a].measured < *choice.rivals[b].measured; });
  return list;
}

uint64_t mix(uint64_t hash, const std::string& text) {  // FNV-1a
  for (char c : text + "\n") hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

}  // namespace

bool is_won(const Duel& duel) { return duel.challenger < kClearInPlan * duel.incumbent; }

Result<std::optional<Duel>> hold_duel(const std::function<Result<double>()>& incumbent,
                                      const std::function<Result<double>()>& challenger,
                                      const std::function<bool()>& has_time) {
  std::vector<double> times, ratios;
  while (ratios.size() < kMostPairs) {
    double own = 0, other = 0;
    // Who goes first changes: the device may become faster or slower meanwhile.
    if (ratios.size() % 2 == 0) own = HUSSAR_TRY(incumbent());
    other = HUSSAR_TRY(challenger());
    if (ratios.size() % 2 == 1) own = HUSSAR_TRY(incumbent());
    times.push_back(own);
    ratios.push_back(own > 0 ? other / own : 1);
    if (ratios.size() >= kLeastPairs && (median(ratios) <= kPlainlyAhead || median(ratios) >= kNotAhead)) break;
    if (!has_time()) break;
  }
  if (ratios.size() < kLeastPairs) return std::optional<Duel>();
  const auto won = std::count_if(ratios.begin(), ratios.end(), [](double ratio) { return ratio < 1; });
  const double time = median(times), ratio = median(ratios);
  // What does not win three of four pairs is ahead by luck.
  const bool is_luck = 4 * static_cast<size_t>(won) < 3 * ratios.size();
  return std::optional<Duel>({time, time * (is_luck ? std::max(ratio, 1.0) : ratio)});
}

int PlanDecisions::changed() const {
  return static_cast<int>(std::count_if(problems.begin(), problems.end(), [](const auto& entry) {
    return entry.second.chosen != entry.second.rivals.front();
  }));
}

// The nodes with one problem, of which the first stands for all.
struct PlanContests::Group {
  std::string problem;
  Choice choice;
  std::vector<size_t> nodes;
};

PlanContests::PlanContests(const Graph& graph, const Target& target, const Chooser& choose, const NamedShapes& shapes,
                           TimingCache& cache)
    : target_(target), cache_(cache), machine_(machine_of(target)) {
  std::map<std::string, size_t> places;
  std::vector<Group> groups;
  uint64_t hash = 14695981039346656037U;
  double all = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Problem problem{*graph.nodes()[i], target};
    Choice choice = choose(problem);
    const Rival* winner = choice.rival();
    if (winner == nullptr || winner->tactic->place != Place::kDevice) continue;
    const std::string key = problem_key(problem, shapes), rival = rival_key(*winner, target);
    hash = mix(mix(hash, key), rival);
    all += winner->measured.value_or(winner->predicted);
    if (!winner->measured) continue;
    const auto [it, is_new] = places.emplace(key, groups.size());
    if (is_new) groups.push_back({key, std::move(choice), {}});
    // A node that the user keeps from some kernels has a choice of its own.
    if (rival_key(*groups[it->second].choice.rival(), target) == rival) groups[it->second].nodes.push_back(i);
  }
  plan_ = fmt::format(" in plan {:016x}", hash);
  for (const Group& group : groups) {
    if (*group.choice.rival()->measured * static_cast<double>(group.nodes.size()) >= kLeastPart * all) add(group);
  }
  // No problem has its second contest before all have had one.
  std::stable_sort(contests_.begin(), contests_.end(), [](const PlanContest& a, const PlanContest& b) {
    return a.turn != b.turn ? a.turn < b.turn : a.weight > b.weight;
  });
}

void PlanContests::add(const Group& group) {
  const Rival& winner = *group.choice.rival();
  const double weight = *winner.measured * static_cast<double>(group.nodes.size());
  int turn = 0;
  for (size_t challenger : challengers(group.choice)) {
    contests_.push_back(
        {group.problem, group.nodes, winner, group.choice.rivals[challenger], group.choice.target, weight, turn++});
  }
}

std::optional<Duel> PlanContests::find(const PlanContest& contest, const std::string& incumbent) const {
  const std::string challenger = rival_key(contest.challenger, target_), problem = contest.problem + plan_;
  const auto own = cache_.find(machine_, problem, incumbent + " against " + challenger);
  const auto other = cache_.find(machine_, problem, challenger + " against " + incumbent);
  if (!own || !other) return std::nullopt;
  return Duel{*own, *other};
}

void PlanContests::record(const PlanContest& contest, const std::string& incumbent, const Duel& duel) {
  const std::string challenger = rival_key(contest.challenger, target_), problem = contest.problem + plan_;
  constexpr double kLeastTime = 1e-3;  // microseconds that a cache can hold
  cache_.record(machine_, problem, incumbent + " against " + challenger, std::max(duel.incumbent, kLeastTime));
  cache_.record(machine_, problem, challenger + " against " + incumbent, std::max(duel.challenger, kLeastTime));
}

Result<PlanDecisions> PlanContests::decide(const Hold& hold, const Adopt& adopt) {
  PlanDecisions decisions;
  double part = 1;
  for (const PlanContest& contest : contests_) {
    const std::string first = rival_key(contest.first, target_), challenger = rival_key(contest.challenger, target_);
    const auto decided = decisions.problems.find(contest.problem);
    const std::string incumbent = decided == decisions.problems.end() ? first : decided->second.chosen;
    std::optional<Duel> duel = find(contest, incumbent);
    if (!duel && hold && !decisions.is_open) {
      if (const auto held = HUSSAR_TRY(hold(contest))) {
        record(contest, incumbent, *held);
        duel = find(contest, incumbent);
      }
    }
    if (!duel) {
      decisions.is_open = true;
      continue;
    }
    if (duel->challenger >= kImpossible) continue;
    PlanDecision& decision =
        decisions.problems.try_emplace(contest.problem, PlanDecision{first, {first}}).first->second;
    decision.rivals.push_back(challenger);
    if (!is_won(*duel)) continue;
    decision.chosen = challenger;
    part *= duel->challenger / duel->incumbent;
    if (adopt) HUSSAR_TRY(adopt(contest));
  }
  decisions.gain = 1 - part;
  return decisions;
}

Choice with_decisions(Choice choice, const Problem& problem, const NamedShapes& shapes,
                      const PlanDecisions& decisions) {
  if (decisions.problems.empty() || choice.chosen < 0 || choice.tactic()->place != Place::kDevice) return choice;
  const auto it = decisions.problems.find(problem_key(problem, shapes));
  if (it == decisions.problems.end()) return choice;
  const PlanDecision& decision = it->second;
  std::optional<size_t> chosen;
  std::vector<size_t> in_question;
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    const std::string key = rival.refusal ? "" : rival_key(rival, problem.target);
    if (std::find(decision.rivals.begin(), decision.rivals.end(), key) == decision.rivals.end()) continue;
    in_question.push_back(i);
    if (key == decision.chosen) chosen = i;
  }
  const bool is_among =
      std::find(in_question.begin(), in_question.end(), static_cast<size_t>(choice.chosen)) != in_question.end();
  if (!chosen || !is_among) return choice;
  choice.chosen = static_cast<int>(*chosen);
  choice.in_plan = std::move(in_question);
  return choice;
}

}  // namespace hussar
