// One plan per rival, run in turn.
#include "compile/measure_problem.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/isa.h"
#include "base/error.h"
#include "base/memory.h"
#include "compile/compile.h"
#include "compile/flops.h"
#include "compile/freeze.h"
#include "compile/sample.h"
#include "compile/tune_device.h"
#include "ops/op_def.h"
#include "plan/kernel.h"
#include "runtime/session.h"
#include "tactics/problem_grammar.h"

namespace hussar {
namespace {

struct Runner {
  std::unique_ptr<Session> session;
  size_t step = 0;  // the work itself
  std::vector<double> samples;
};

constexpr int kReference = -1;

// The plan in which the rival does the work and the likeliest kernels convert layouts around it.
Result<Runner> make_runner(const ProblemGraph& problem, const Target& target, const Choice& choice, int rival) {
  Graph copy = problem.graph.clone();
  if (rival == kReference) {
    // Evaluators know plain data only.
    for (const auto& value : copy.values()) value->layout = Layout::kPlain;
  }
  const std::string name = problem.node->name;
  auto chooser = [&](const Problem& asked) {
    Choice made = choose(asked);
    if (asked.node.name == name && asked.node.op == problem.node->op) {
      made = choice;
      made.chosen = rival;
    }
    return made;
  };
  auto plan = std::make_shared<Plan>(HUSSAR_TRY(freeze(copy, target, chooser)));
  plan->meta["target"] = target_name(target);
  plan->meta["threads"] = std::to_string(target.threads);
  Runner runner{nullptr, 0, {}};
  const auto& steps = plan->graph.steps;
  while (steps[runner.step].name != name || steps[runner.step].op != problem.node->op) ++runner.step;
  runner.session = HUSSAR_TRY(Session::create(plan));
  return runner;
}

Status sample(Runner& runner, const std::vector<Tensor>& inputs) {
  const PlanStep* step = &runner.session->plan().graph.steps[runner.step];
  runner.session->set_profiler([&](const StepTime& time) {
    if (time.step == step) runner.samples.push_back(time.microseconds);
  });
  auto outputs = runner.session->run_in_order(inputs);
  runner.session->set_profiler(nullptr);
  HUSSAR_CHECK(outputs.has_value(), outputs.error().code, "problem: {}", outputs.error().message);
  return {};
}

}  // namespace

// Visits the runners in turn.
static Status measure(std::vector<Runner>& runners, const std::vector<Tensor>& inputs, double seconds) {
  constexpr int kLeastRounds = 5;
  using Clock = std::chrono::steady_clock;
  for (Runner& runner : runners) HUSSAR_TRY(sample(runner, inputs));
  for (Runner& runner : runners) runner.samples.clear();
  auto begin = Clock::now();
  auto is_late = [&] { return std::chrono::duration<double>(Clock::now() - begin).count() >= seconds; };
  for (int round = 0; round < kLeastRounds || !is_late(); ++round) {
    for (size_t i = 0; i < runners.size(); ++i) {
      HUSSAR_TRY(sample(runners[(i + static_cast<size_t>(round)) % runners.size()], inputs));
    }
  }
  for (Runner& runner : runners) std::sort(runner.samples.begin(), runner.samples.end());
  return {};
}

static Result<ProblemTimes> measure(const std::string& text, const Target& target, double seconds) {
  ProblemGraph problem = HUSSAR_TRY(parse_problem(text));
  HUSSAR_TRY(problem.graph.sort());
  std::vector<Tensor> inputs = HUSSAR_TRY(random_inputs(input_facts(problem.graph), {}, 1));
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  ProblemTimes times;
  times.problem = spell_problem(*problem.node);
  Choice choice = choose(Problem{*problem.node, target});
  std::vector<Runner> reference, runners;
  std::vector<size_t> measured;
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    times.rivals.push_back(
        {rival.name(target), rival.refusal, rival.predicted, {}, 0, static_cast<int>(i) == choice.chosen});
    if (rival.refusal) continue;
    measured.push_back(i);
    runners.push_back(HUSSAR_TRY(make_runner(problem, target, choice, static_cast<int>(i))));
  }
  reference.push_back(HUSSAR_TRY(make_runner(problem, target, choice, kReference)));
  const Runner& first = runners.empty() ? reference[0] : runners[0];
  times.flops = step_flops(first.session->plan().graph, shapes)[first.step];
  times.bytes = node_bytes(*problem.node);
  const Kernel* kernel = find_kernel(first.session->plan().graph.steps[first.step].kernel);
  if (kernel != nullptr) times.multiplies_in = kernel->multiplies_in;
  HUSSAR_TRY(measure(reference, inputs, 0));
  HUSSAR_TRY(measure(runners, inputs, seconds));
  measured.push_back(times.rivals.size());
  times.rivals.push_back({std::string(kReferenceKernel), {}, {}, {}, 0, choice.chosen < 0});
  runners.push_back(std::move(reference[0]));
  for (size_t i = 0; i < runners.size(); ++i) {
    const std::vector<double>& samples = runners[i].samples;
    times.rivals[measured[i]].least = samples.front();
    times.rivals[measured[i]].median = samples[samples.size() / 2];
  }
  return times;
}

// The kernels of a GPU and their configurations, each recorded a few times in a row, as when a plan is tuned.
static Result<ProblemTimes> measure_on_device(const std::string& text, const Target& target, double seconds) {
  ProblemGraph problem = HUSSAR_TRY(parse_problem(text));
  HUSSAR_TRY(problem.graph.sort());
  TimingCache cache;
  TuneOptions options;
  options.seconds = seconds;
  options.all = true;
  const Graph* const graph = &problem.graph;
  const TuneReport tuned = HUSSAR_TRY(tune_device({&graph, 1}, target, options, cache));
  HUSSAR_CHECK(tuned.skipped.empty(), ErrorCode::kDeviceUnavailable, "problem: {}", tuned.skipped);
  const Timings timings = timings_from(cache, target, {});
  const Problem asked{*problem.node, target};
  const Choice choice = choose(asked);
  ProblemTimes times;
  times.problem = spell_problem(*problem.node);
  times.bytes = node_bytes(*problem.node);
  const OpDef* op = find_op(problem.node->op);
  if (op != nullptr && op->flops != nullptr) times.flops = op->flops(*problem.node);
  for (size_t i = 0; i < choice.rivals.size(); ++i) {
    const Rival& rival = choice.rivals[i];
    const auto measured = timings(asked, rival);
    times.rivals.push_back({rival.name(target), rival.refusal, rival.predicted, measured, measured.value_or(0),
                            static_cast<int>(i) == choice.chosen});
  }
  return times;
}

Result<ProblemTimes> measure_problem(const std::string& text, const Target& target, double seconds) {
  return catching("measure the problem", [&] {
    return target.place == Place::kHost ? measure(text, target, seconds) : measure_on_device(text, target, seconds);
  });
}

}  // namespace hussar
