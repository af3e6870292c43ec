// Contests in whole plans on the test device: plans with exchanged steps, and who keeps the steps, by a scripted clock.
#include "compile/tune_whole_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "compile/compile.h"
#include "compile/exchange_steps.h"
#include "compile/optimize.h"
#include "compile/tune.h"
#include "onnx/import.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// Two products and what lies between them.
Message products() {
  return model(graph({{node("MatMul", {"x", "v"}, {"a"}), node("Relu", {"a"}, {"b"}), node("Gemm", {"b", "w"}, {"y"})},
                      {value("x", {64, 64})},
                      {any_shape("y")},
                      {tensor_of("v", DType::kFloat32, {64, 64}, numbers(64 * 64, 7)),
                       tensor_of("w", DType::kFloat32, {64, 128}, numbers(64 * 128, 5))}}));
}

class CudaWholePlan : public ::testing::Test {
 protected:
  void SetUp() override {
    options_ = for_device();
    if (options_.sm == 0) options_.sm = 80;
    if (options_.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
    options_.fp16 = true;
    options_.timings = &cache_;
    // A millisecond goes by whenever somebody looks.
    options_.tune_clock = [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };
    target_.place = Place::kDevice;
    target_.sm = options_.sm;
    target_.no_fp16 = {};
  }
  Graph imported() const { return std::move(onnx::import_bytes(products().bytes(), nullptr, "")->graph); }
  // Freezes by what the cache knows.
  void freeze_products() {
    auto optimized = optimize_graph(imported(), options_);
    ASSERT_TRUE(optimized);
    graph_ = std::move(*optimized);
    choose_ = [this, known = timings_from(cache_, target_, {})](const Problem& problem) {
      return choose(problem, known);
    };
    Graph copy = graph_.clone();
    auto plan = freeze(copy, target_, choose_, &record_);
    ASSERT_TRUE(plan);
    base_ = std::move(*plan);
    base_.meta["target"] = target_name(target_);
    base_.meta["threads"] = "1";
    ASSERT_NE(record_.pages, nullptr);
  }
  Result<Plan> compile(CompileReport& report) {
    report = {};
    return compile_graph(imported(), options_, &report);
  }

  TimingCache cache_;
  CompileOptions options_;
  Target target_;
  Graph graph_;
  Chooser choose_;
  FreezeRecord record_;
  Plan base_;
};

// Whatever can do a step may take it, one after another, and the outputs stay. Of constants only what is packed in
// another way goes to the device.
TEST_F(CudaWholePlan, ExchangedStepsComputeTheSame) {
  freeze_products();
  StepExchange exchange(graph_, record_, base_);
  auto plan = std::make_shared<const Plan>(exchange.unchanged());
  const std::vector<float> wanted = first_output_of(plan);
  auto session = Session::create(plan);
  ASSERT_TRUE(session);
  int others = 0;
  for (size_t i = 0; i < graph_.nodes().size(); ++i) {
    const Choice choice = choose_(Problem{*graph_.nodes()[i], target_});
    for (const Rival& rival : choice.rivals) {
      if (rival.refusal || rival.tactic->place != Place::kDevice) continue;
      auto changed = exchange.exchange(*plan, {i}, rival, target_);
      ASSERT_TRUE(changed) << changed.error().message;
      EXPECT_EQ(changed->graph.steps[static_cast<size_t>(record_.steps[i])].kernel, rival.tactic->kernel);
      auto made = std::make_shared<const Plan>(std::move(*changed));
      const int64_t before = device_counts().bytes_in;
      auto other = Session::create(made);
      ASSERT_TRUE(other) << rival.name(target_) << ": " << other.error().message;
      // What a rival packs in the same way, of which the winner itself is one, is there.
      int64_t weights = 0;
      for (const Value* input : graph_.nodes()[i]->inputs)
        weights += input->is_constant() ? static_cast<int64_t>(input->constant->bytes()) : 0;
      EXPECT_LE(device_counts().bytes_in - before, rival.tactic == choice.tactic() ? 0 : weights);
      EXPECT_LE(largest_difference(first_output_of(made), wanted), 5e-3) << rival.name(target_);
      exchange.forget_last();
      others += &rival == choice.rival() ? 0 : 1;
    }
  }
  EXPECT_GE(others, 2);
}

// Reads of the clock in a contest of two plans: begin, whether there is time, two for the first run of each plan, and
// in every pair two for each sample, then whether there is time.
std::function<double()> clock_of_duel(double incumbent, double challenger) {
  return [=, reads = std::make_shared<int>(0), now = std::make_shared<double>(0)] {
    const int read = (*reads)++;
    double& time = *now;
    if (read == 3 || read == 5) time += 1;
    const int pair = (read - 6) / 5, place = (read - 6) % 5;
    if (read >= 6 && (place == 1 || place == 3)) time += (place == 1) == (pair % 2 == 0) ? incumbent : challenger;
    return time;
  };
}

// By times alone a tile is ahead; what the plans take decides.
TEST_F(CudaWholePlan, ThePlanDecides) {
  auto optimized = optimize_graph(imported(), options_);
  ASSERT_TRUE(optimized);
  const Graph* const form = &*optimized;
  ASSERT_TRUE(tune({&form, 1}, target_, {100, 0, {}, true, nullptr, options_.tune_clock}, cache_));
  freeze_products();
  for (const double part : {1.02, 0.97}) {
    TimingCache cache;
    PlanContests contests(graph_, target_, choose_, {}, cache);
    ASSERT_GE(contests.contests().size(), 1U);
    auto decisions = tune_whole_plan(contests, graph_, record_, base_, {{}, 100, clock_of_duel(1, part), nullptr});
    ASSERT_TRUE(decisions);
    const PlanContest& contest = contests.contests().front();
    ASSERT_TRUE(decisions->problems.contains(contest.problem));
    const Problem problem{*graph_.nodes()[contest.nodes[0]], target_};
    const Choice alone = choose_(problem), decided = with_decisions(alone, problem, {}, *decisions);
    EXPECT_EQ(decided.in_plan.size(), 2U);
    EXPECT_EQ(decided.chosen != alone.chosen, part < 1);
    const Rival& winner = part < 1 ? contest.challenger : contest.first;
    EXPECT_EQ(decided.rival()->name(target_), winner.name(target_));
  }
}

// A budget leaves nothing open; with the cache nothing is measured again, and the plan is the same. No budget: nothing
// is measured at all.
TEST_F(CudaWholePlan, CacheMakesTheSamePlan) {
  CompileReport report;
  ASSERT_TRUE(compile(report));
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(report.tuning.in_plan, 0);
  options_.tune_seconds = 1000;
  auto plan = compile(report);
  ASSERT_TRUE(plan);
  EXPECT_GE(report.tuning.in_plan, 1);
  EXPECT_EQ(report.tuning.changed, 0);  // all plans take as long by this clock
  EXPECT_NE(report.tuning.to_string().find("decided by the whole plan"), std::string::npos);
  const std::string known = cache_.to_string();
  EXPECT_NE(known.find(" against "), std::string::npos);
  std::string reports;
  for (const PlanStep& step : plan->graph.steps) reports += step.report;
  EXPECT_NE(reports.find("not faster in the whole plan"), std::string::npos) << reports;
  for (double seconds : {1000.0, 0.0}) {
    options_.tune_seconds = seconds;
    const int64_t recordings = device_counts().recordings;
    const int in_plan = report.tuning.in_plan;
    auto again = compile(report);
    ASSERT_TRUE(again);
    EXPECT_EQ(device_counts().recordings, recordings);
    EXPECT_EQ(report.tuning.measured, 0);
    EXPECT_EQ(report.tuning.in_plan, in_plan);
    EXPECT_EQ(cache_.to_string(), known);
    EXPECT_TRUE(encode_plan(*again) == encode_plan(*plan) || seconds == 0);
    ASSERT_EQ(again->graph.steps.size(), plan->graph.steps.size());
    for (size_t i = 0; i < plan->graph.steps.size(); ++i)
      EXPECT_EQ(again->graph.steps[i].kernel, plan->graph.steps[i].kernel);
  }
}

// With INT8 the plan that the choice of precisions has made is decided, once.
TEST_F(CudaWholePlan, AfterTheChoiceOfPrecisions) {
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"x", {2.0F / 255, 0}}, {"b", {4.0F / 255, 0}}};
  options_.quantization = quantization;
  options_.tune_seconds = 1000;
  CompileReport report;
  auto plan = compile(report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(report.int8.chosen_microseconds, 0);
  EXPECT_GE(report.tuning.in_plan, 1);
  std::set<std::string> plans;
  const std::string known = cache_.to_string();
  for (size_t at = 0; (at = known.find(" in plan ", at)) != std::string::npos; at += 25)
    plans.insert(known.substr(at, 25));
  EXPECT_EQ(plans.size(), 1U) << known;
  std::string reports;
  for (const PlanStep& step : plan->graph.steps) reports += step.report;
  EXPECT_NE(reports.find("not faster in the whole plan"), std::string::npos) << reports;
  EXPECT_EQ(first_output_of(std::make_shared<const Plan>(std::move(*plan))).size(), 64U * 128);
}

// Of a cache that knows the challenger to be ahead in the plan, the plan has it.
TEST_F(CudaWholePlan, CacheWithAChange) {
  CompileReport report;
  options_.tune_seconds = 1000;
  auto plan = compile(report);
  ASSERT_TRUE(plan);
  const std::string known = cache_.to_string();
  const size_t contest = known.find(" against ");
  ASSERT_NE(contest, std::string::npos);
  // Both lines of that contest, one after the other made faster: one of them is the challenger's.
  const size_t begin = known.rfind('\t', contest) + 1;
  const std::string problem = known.substr(known.rfind('\n', contest) + 1, begin - known.rfind('\n', contest) - 1);
  const std::string left = known.substr(begin, contest - begin);
  const std::string right = known.substr(contest + 9, known.find('\t', contest) - contest - 9);
  int changed = 0;
  for (const auto& [faster, slower] : {std::pair(left, right), std::pair(right, left)}) {
    TimingCache cache;
    ASSERT_TRUE(cache.merge(known + problem + faster + " against " + slower + "\t10\n"));
    options_.timings = &cache;
    options_.tune_seconds = 0;
    auto decided = compile(report);
    ASSERT_TRUE(decided);
    if (report.tuning.changed == 0) continue;
    ++changed;
    EXPECT_GT(report.tuning.gain, 0.9);
    EXPECT_NE(report.tuning.to_string().find("differently"), std::string::npos);
    std::string before, after;
    for (const PlanStep& step : plan->graph.steps) before += step.report;
    for (const PlanStep& step : decided->graph.steps) after += step.report;
    const std::string name = faster.substr(0, faster.find('@')), loser = slower.substr(0, slower.find('@'));
    EXPECT_NE(before.find(name + ": not faster in the whole plan"), std::string::npos) << before;
    EXPECT_NE(after.find(name + ": chosen"), std::string::npos) << after;
    EXPECT_NE(after.find(loser + ": not faster in the whole plan"), std::string::npos) << after;
  }
  EXPECT_EQ(changed, 1);
}

}  // namespace
}  // namespace hussar::tests
