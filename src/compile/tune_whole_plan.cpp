// Whole plans against each other.
#include "compile/tune_whole_plan.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "compile/exchange_steps.h"
#include "compile/sample.h"
#include "compile/whole_runs.h"

namespace hussar {
namespace {

struct RunningPlan {
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<Session> session;
  std::unique_ptr<WholeRuns> runs;
};

class Bench {
 public:
  Bench(const Graph& graph, const FreezeRecord& record, const Plan& base, const WholePlanOptions& options)
      : options_(options), exchange_(graph, record, base), begin_(now()) {}

  Status prepare() {
    plan_ = std::make_shared<Plan>(exchange_.unchanged());
    inputs_ = HUSSAR_TRY(random_inputs(input_facts(plan_->graph), options_.shapes, 1));
    return {};
  }
  Result<std::optional<Duel>> hold(const PlanContest& contest) {
    forget_challenger();
    if (!has_time()) return std::optional<Duel>();
    challenged_ = &contest;
    if (incumbent_.session == nullptr) incumbent_ = HUSSAR_TRY(open(plan_));
    auto changed = exchange_.exchange(*plan_, contest.nodes, contest.challenger, contest.target);
    if (!changed) {
      exchange_.forget_last();
      if (changed.error().code == ErrorCode::kUsage) return std::optional<Duel>(impossible());
      return tl::unexpected(changed.error());
    }
    auto challenger = open(std::make_shared<Plan>(std::move(*changed)));
    if (!challenger) {
      exchange_.forget_last();
      // What a library does not take in this plan it says on the device only.
      if (contest.challenger.tactic->vendor_library != nullptr) return std::optional<Duel>(impossible());
      return tl::unexpected(challenger.error());
    }
    challenger_ = std::move(*challenger);
    return hold_duel([&] { return incumbent_.runs->sample(); }, [&] { return challenger_.runs->sample(); },
                     [&] { return has_time(); });
  }
  Status adopt(const PlanContest& contest) {
    if (challenger_.session != nullptr && challenged_ == &contest) {
      incumbent_ = std::move(challenger_);
      challenger_ = {};
      plan_ = incumbent_.plan;
      return {};
    }
    // Known from before.
    forget_challenger();
    incumbent_ = {};
    plan_ = std::make_shared<Plan>(
        HUSSAR_TRY(exchange_.exchange(*plan_, contest.nodes, contest.challenger, contest.target)));
    return {};
  }
  double part_of_time() const { return (now() - begin_) / std::max(options_.seconds, 1e-9); }

 private:
  double now() const {
    if (options_.clock) return options_.clock();
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  bool has_time() const { return now() - begin_ < options_.seconds; }
  static Duel impossible() { return {0, kImpossible}; }

  // Those that lost.
  void forget_challenger() {
    if (challenger_.session == nullptr) return;
    challenger_ = {};
    exchange_.forget_last();
  }
  Result<RunningPlan> open(std::shared_ptr<const Plan> plan) const {
    RunningPlan running;
    running.session = HUSSAR_TRY(Session::create(plan));
    running.runs = std::make_unique<WholeRuns>(*running.session, inputs_, options_.clock);
    HUSSAR_TRY(running.runs->warm_up());
    running.plan = std::move(plan);
    return running;
  }

  const WholePlanOptions& options_;
  StepExchange exchange_;
  double begin_;
  std::vector<Tensor> inputs_;
  std::shared_ptr<const Plan> plan_;  // as it is so far
  RunningPlan incumbent_, challenger_;
  const PlanContest* challenged_ = nullptr;  // by challenger_
};

}  // namespace

Result<PlanDecisions> tune_whole_plan(PlanContests& contests, const Graph& graph, const FreezeRecord& record,
                                      const Plan& base, const WholePlanOptions& options) {
  Bench bench(graph, record, base, options);
  bool is_over = record.pages == nullptr || !bench.prepare();
  double held = 0;
  auto hold = [&](const PlanContest& contest) -> Result<std::optional<Duel>> {
    if (is_over) return std::optional<Duel>();
    if (options.progress) {
      const double part = held++ / static_cast<double>(contests.contests().size());
      options.progress(std::min(1.0, std::max(part, bench.part_of_time())));
    }
    auto duel = bench.hold(contest);
    is_over = !duel;
    return duel ? *duel : std::optional<Duel>();
  };
  auto adopt = [&](const PlanContest& contest) -> Status {
    if (!is_over) is_over = !bench.adopt(contest);
    return {};
  };
  return contests.decide(hold, adopt);
}

}  // namespace hussar
