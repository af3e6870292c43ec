// Measuring and choosing, then freezing.
#include "compile/freeze_tuned.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "compile/float_products.h"
#include "compile/precision.h"
#include "compile/tune_whole_plan.h"
#include "hussar/version.h"
#include "plan/device.h"

namespace hussar {

bool tunes(const CompileOptions& options, const Target& target) {
  const bool is_here = target.place == Place::kDevice || target.isa <= static_cast<int>(cpu::active_isa());
  return options.tune_seconds > 0 && is_here && !options.reference_only;
}

bool can_measure_plans(const CompileOptions& options, const Target& target) {
  return tunes(options, target) && (target.place == Place::kHost || open_device(target_name(target), 0).has_value());
}

Result<double> tune_graphs(std::span<const Graph* const> graphs, const Target& target, const CompileOptions& options,
                           TimingCache& timings, CompileReport* report) {
  // On a device forms of a model differ in their types: what only one of them does is no contest between them.
  const bool all = graphs.size() > 1 && target.place == Place::kHost;
  TuneOptions tuning{options.tune_seconds,   options.tune_reserve, options.tune_shapes, all,
                     options.stage_progress, options.tune_clock};
  TuneReport tuned = HUSSAR_TRY(tune(graphs, target, tuning, timings));
  if (report != nullptr) report->tuning.add(tuned);
  return tuned.seconds;
}

namespace {

// Chooses by what was measured, within what the user allows to each node.
class NodeChooser {
 public:
  NodeChooser(const Target& target, const CompileOptions& options, const TimingCache& timings, bool is_measured)
      : kept_(std::make_shared<KeptNodes>(options.fp32_nodes, options.inexact_in_half)),
        known_(timings_from(timings, target, options.tune_shapes)),
        is_measured_(is_measured && target.place == Place::kDevice) {}

  Choice operator()(const Problem& problem) const {
    Problem restricted = kept_->restrict(problem);
    restricted.target.is_measured = is_measured_;
    return choose(restricted, known_);
  }
  std::string unseen() const { return kept_->unseen(); }

 private:
  std::shared_ptr<KeptNodes> kept_;
  Timings known_;
  bool is_measured_;
};

Result<Plan> freeze_chosen(Graph& graph, const Target& target, const CompileOptions& options,
                           const NodeChooser& chooser, const PlanDecisions& decisions, FreezeRecord* record = nullptr) {
  const Chooser choose = [&](const Problem& problem) {
    return with_decisions(chooser(problem), problem, options.tune_shapes, decisions);
  };
  Plan plan = HUSSAR_TRY(freeze(graph, target, options.reference_only ? nullptr : choose, record));
  HUSSAR_CHECK(options.reference_only || chooser.unseen().empty(), ErrorCode::kUsage,
               "--precision names '{}', which is no step of the plan: `hussar inspect` lists them", chooser.unseen());
  plan.meta["hussar_version"] = HUSSAR_VERSION;
  plan.meta["target"] = target_name(target);
  plan.meta["threads"] = std::to_string(target.threads);
  return plan;
}

void report_decisions(const PlanDecisions& decisions, CompileReport* report) {
  if (report == nullptr) return;
  report->tuning.in_plan = static_cast<int>(decisions.problems.size());
  report->tuning.changed = decisions.changed();
  report->tuning.gain = decisions.gain;
  report->decisions = std::make_shared<const PlanDecisions>(decisions);
}

// Says in the steps of a plan that stays as it is between whom it has decided.
void describe_decisions(Plan& plan, const Draft& draft, const Target& target, const CompileOptions& options,
                        const NodeChooser& chooser, const PlanDecisions& decisions) {
  for (size_t i = 0; i < draft.graph.nodes().size(); ++i) {
    if (draft.record.steps[i] < 0) continue;
    const Problem problem{*draft.graph.nodes()[i], target};
    const Choice alone = chooser(problem);
    const Choice decided = with_decisions(alone, problem, options.tune_shapes, decisions);
    std::string& text = plan.graph.steps[static_cast<size_t>(draft.record.steps[i])].report;
    const std::string former = describe(alone);
    if (!decided.in_plan.empty() && text.starts_with(former)) text = describe(decided) + text.substr(former.size());
  }
}

// What else was said of steps in floats is said of them in the new plan, too.
void repeat_reasons(const Plan& former, Plan& plan, bool fp8) {
  std::map<std::string, std::string, std::less<>> reasons;
  for (const FloatProduct& product : float_products(former.graph)) {
    for (const std::string& part : parts_of_name(product.name)) reasons.emplace(part, product.reason);
  }
  std::erase_if(reasons, [](const auto& entry) { return entry.second.empty(); });
  explain_float_products(plan.graph, reasons, fp8);
}

}  // namespace

// Measures what rivals take alone; `tuned_seconds` of the budget are spent. Whether they were measured on this machine.
static Result<bool> tune_alone(const Graph& graph, const Target& target, const CompileOptions& options,
                               CompileReport* report, double tuned_seconds) {
  if (!tunes(options, target)) return false;
  if (options.progress) options.progress("tune");
  const Graph* const form = &graph;
  // Problems that no form had so far get their one round even when nothing is left.
  CompileOptions remaining = options;
  remaining.tune_seconds = std::max(0.0, options.tune_seconds - tuned_seconds);
  HUSSAR_TRY(tune_graphs({&form, 1}, target, remaining, *options.timings, report));
  return can_measure_plans(options, target);
}

Result<Plan> freeze_alone(Graph& graph, const Target& target, const CompileOptions& options, CompileReport* report,
                          double tuned_seconds, Draft* draft) {
  const bool is_measured = HUSSAR_TRY(tune_alone(graph, target, options, report, tuned_seconds));
  if (options.progress) options.progress("choose");
  const NodeChooser chooser(target, options, *options.timings, is_measured);
  if (draft == nullptr || !is_measured) return freeze_chosen(graph, target, options, chooser, {});
  draft->graph = graph.clone();
  return freeze_chosen(graph, target, options, chooser, {}, &draft->record);
}

Result<Plan> decide_in_whole_plan(Draft draft, Plan plan, const Target& target, const CompileOptions& options,
                                  double seconds, CompileReport* report) {
  if (options.progress) options.progress("tune plan");
  const auto now = [&] {
    return options.tune_clock
               ? options.tune_clock()
               : std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  const double begin = now();
  const NodeChooser chooser(target, options, *options.timings, true);
  PlanContests contests(draft.graph, target, chooser, options.tune_shapes, *options.timings);
  const WholePlanOptions tuning{options.tune_shapes, seconds, options.tune_clock, options.stage_progress};
  const PlanDecisions decisions = HUSSAR_TRY(tune_whole_plan(contests, draft.graph, draft.record, plan, tuning));
  report_decisions(decisions, report);
  if (report != nullptr) report->tuning.seconds += now() - begin;
  if (decisions.changed() == 0) {
    describe_decisions(plan, draft, target, options, chooser, decisions);
    return plan;
  }
  if (options.progress) options.progress("choose");
  Plan decided = HUSSAR_TRY(freeze_chosen(draft.graph, target, options, chooser, decisions));
  repeat_reasons(plan, decided, options.quantization != nullptr && options.quantization->fp8);
  decided.meta.insert(plan.meta.begin(), plan.meta.end());
  return decided;
}

Result<Plan> freeze_tuned(Graph& graph, const Target& target, const CompileOptions& given, CompileReport* report,
                          double tuned_seconds) {
  TimingCache unshared;
  CompileReport unread;
  if (report == nullptr) report = &unread;
  CompileOptions options = given;
  if (options.timings == nullptr) options.timings = &unshared;
  if (target.place == Place::kHost || options.reference_only)
    return freeze_alone(graph, target, options, report, tuned_seconds, nullptr);
  const double before = report->tuning.seconds;
  options.tune_seconds = (1 - kWholePlanShare) * given.tune_seconds;
  options.tune_reserve = kWholePlanShare * given.tune_seconds;
  const bool is_measured = HUSSAR_TRY(tune_alone(graph, target, options, report, tuned_seconds));
  options.tune_seconds = given.tune_seconds;
  const double left = given.tune_seconds - tuned_seconds - (report->tuning.seconds - before);
  const NodeChooser chooser(target, options, *options.timings, is_measured);
  PlanDecisions decisions;
  // To ask for a device's name takes time, and nothing is known of an empty cache.
  if (options.timings->size() > 0) {
    PlanContests contests(graph, target, chooser, options.tune_shapes, *options.timings);
    decisions = HUSSAR_TRY(contests.decide());
    report_decisions(decisions, report);
  }
  if (decisions.is_open && is_measured && left > 0) {
    Draft draft{graph.clone(), {}};
    Plan plan = HUSSAR_TRY(freeze_chosen(graph, target, options, chooser, {}, &draft.record));
    return decide_in_whole_plan(std::move(draft), std::move(plan), target, options, left, report);
  }
  if (options.progress) options.progress("choose");
  if (decisions.problems.empty() && options.decisions != nullptr) decisions = *options.decisions;
  return freeze_chosen(graph, target, options, chooser, decisions);
}

}  // namespace hussar
