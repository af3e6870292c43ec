// PlanContests: what rivals that were measured by themselves leave to be decided by the whole plan.
//
// A kernel that is a little faster alone may be slower in a plan: it may begin only when all before it has ended, or
// leave other things in the cache. So where another rival of a problem comes near the winner, the plan with all steps
// of the problem in the hands of the one runs against the plan with the other, the most expensive problems first, and
// who is clearly ahead there keeps them for the contests that follow. What was found lies in the timing cache, by the
// plan that the winners alone make: two times of the whole plan per contest.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compile/freeze.h"
#include "compile/spelling.h"
#include "tactics/choose.h"
#include "tactics/timing_cache.h"

namespace hussar {

// Microseconds of the whole plan with either of two rivals. kImpossible: the plan cannot have the challenger.
struct Duel {
  double incumbent = 0, challenger = 0;
};
// Whether the challenger is ahead by more than noise.
bool is_won(const Duel& duel);
// Times both in turn, in pairs, until it is clear who is ahead. Nothing when there was no time for enough of them.
Result<std::optional<Duel>> hold_duel(const std::function<Result<double>()>& incumbent,
                                      const std::function<Result<double>()>& challenger,
                                      const std::function<bool()>& has_time);

struct PlanContest {
  std::string problem;
  std::vector<size_t> nodes;  // of the graph
  Rival first, challenger;    // first: who won by itself
  Target target;              // of the choice
  double weight = 0;          // microseconds of all these nodes
  int turn = 0;               // among the contests of the problem
};

// Of one problem.
struct PlanDecision {
  std::string chosen;               // the keys of rivals
  std::vector<std::string> rivals;  // who were in question; the first: who won by itself
};
struct PlanDecisions {
  std::map<std::string, PlanDecision> problems;
  double gain = 0;       // part of the plan's time
  bool is_open = false;  // not all contests were held
  int changed() const;
};

class PlanContests {
 public:
  // `choose`: by what was measured of rivals alone. `shapes`: those of the measurements.
  PlanContests(const Graph& graph, const Target& target, const Chooser& choose, const NamedShapes& shapes,
               TimingCache& cache);

  // Holds a contest between the plan as it is and the plan with the challenger. Nothing: there is no time.
  using Hold = std::function<Result<std::optional<Duel>>(const PlanContest&)>;
  // From now on the plan is that with the contest's challenger.
  using Adopt = std::function<Status(const PlanContest&)>;
  // In their order; what the cache knows is not held again. Null: nothing is held.
  Result<PlanDecisions> decide(const Hold& hold = nullptr, const Adopt& adopt = nullptr);

  const std::vector<PlanContest>& contests() const { return contests_; }

 private:
  struct Group;
  void add(const Group& group);
  std::optional<Duel> find(const PlanContest& contest, const std::string& incumbent) const;
  void record(const PlanContest& contest, const std::string& incumbent, const Duel& duel);

  const Target target_;
  TimingCache& cache_;
  std::string machine_, plan_;  // plan_: what tells the plan from others
  std::vector<PlanContest> contests_;
};

// The choice for a problem after what was decided. `choice` is what was measured of rivals alone.
Choice with_decisions(Choice choice, const Problem& problem, const NamedShapes& shapes, const PlanDecisions& decisions);

}  // namespace hussar
