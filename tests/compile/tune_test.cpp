// Tuning: what is measured decides, is remembered, and makes the same plan again.
#include "compile/tune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "backends/cpu/cpu_identity.h"
#include "backends/cpu/isa.h"
#include "compile/compile.h"
#include "compile/measure_problem.h"
#include "onnx/import.h"
#include "plan/kernel.h"
#include "runtime/session.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

// x[1,32,16,16] -> Conv 3x3 -> Relu -> y: direct and Winograd kernels are rivals.
Message contested_model() {
  std::vector<float> weights(32 * 32 * 9);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.01F * static_cast<float>(static_cast<int>(i % 19) - 9);
  std::vector<int64_t> ones = {1, 1, 1, 1};
  return model(graph({{node("Conv", {"x", "w"}, {"a"}, {attribute("pads", ones)}), node("Relu", {"a"}, {"y"})},
                      {value("x", {1, 32, 16, 16})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {32, 32, 3, 3}, weights)}}));
}

Result<Plan> compile_bytes(const Message& bytes, const CompileOptions& options, CompileReport* report = nullptr) {
  auto imported = onnx::import_bytes(bytes.bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  return compile_graph(std::move(imported->graph), options, report);
}

const PlanStep* step_of(const Plan& plan, std::string_view op) {
  for (const PlanStep& step : plan.graph.steps) {
    if (step.op == op) return &step;
  }
  return nullptr;
}

// The same cache, in which one kernel takes a millisecond and all others a microsecond.
TimingCache forged(const TimingCache& measured, std::string_view slow_kernel) {
  TimingCache cache;
  std::string text = "# hussar timing cache 1\n", lines = measured.to_string();
  for (size_t begin = lines.find('\n') + 1; begin < lines.size();) {
    size_t end = lines.find('\n', begin), tab = lines.rfind('\t', end);
    bool slow = lines.substr(begin, end - begin).find("\t" + std::string(slow_kernel)) != std::string::npos;
    text += lines.substr(begin, tab - begin) + (slow ? "\t1000\n" : "\t1\n");
    begin = end + 1;
  }
  EXPECT_TRUE(cache.merge(text));
  return cache;
}

TEST(Tune, MeasurementsDecideAndAreRemembered) {
  TimingCache cache;
  CompileOptions options;
  options.threads = 1;
  options.timings = &cache;
  options.tune_seconds = 5;
  CompileReport report;
  auto first = compile_bytes(contested_model(), options, &report);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(report.tuning.skipped, "");
  EXPECT_GE(report.tuning.measured, 1);
  EXPECT_GE(cache.size(), 2U);
  EXPECT_NE(step_of(*first, "Conv")->report.find("measured"), std::string::npos) << step_of(*first, "Conv")->report;

  auto second = compile_bytes(contested_model(), options, &report);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(report.tuning.measured, 0);
  EXPECT_EQ(encode_plan(*first), encode_plan(*second));

  const std::string winner = step_of(*first, "Conv")->kernel;
  TimingCache other = forged(cache, winner);
  options.timings = &other;
  auto plan = compile_bytes(contested_model(), options, &report);
  ASSERT_TRUE(plan.has_value());
  EXPECT_NE(step_of(*plan, "Conv")->kernel, winner) << step_of(*plan, "Conv")->report;
}

TEST(Tune, ProgressRisesToTheWholeAndASpentBudgetStillMeasuresOnce) {
  auto imported = onnx::import_bytes(contested_model().bytes(), nullptr, "");
  ASSERT_TRUE(imported.has_value());
  CompileOptions plain;
  plain.threads = 1;
  std::vector<std::string> stages;
  std::vector<double> fractions;
  plain.progress = [&](std::string_view stage) {
    stages.emplace_back(stage);
    fractions.clear();
  };
  plain.stage_progress = [&](double fraction) {
    EXPECT_EQ(stages.back(), "tune");
    EXPECT_GE(fraction, fractions.empty() ? 0 : fractions.back());
    EXPECT_LE(fraction, 1);
    fractions.push_back(fraction);
  };
  plain.tune_seconds = 1e-9;
  CompileReport report;
  ASSERT_TRUE(compile_graph(std::move(imported->graph), plain, &report));
  EXPECT_EQ(report.tuning.rounds, 1);
  EXPECT_EQ(stages.back(), "choose");
  EXPECT_NE(std::find(stages.begin(), stages.end(), "tune"), stages.end());
}

TEST(Tune, AnotherVersionOrThreadCountIsMeasuredAgain) {
  TimingCache cache;
  CompileOptions options;
  options.timings = &cache;
  options.tune_seconds = 0.01;
  CompileReport report;
  for (int threads : {1, 2}) {
    options.threads = threads;
    ASSERT_TRUE(compile_bytes(contested_model(), options, &report));
    EXPECT_GE(report.tuning.measured, 1) << threads;
  }
}

std::string with_all(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// Every part of an entry's key counts: with another one it is neither used nor kept from being measured again.
TEST(Tune, EntriesOfOtherProcessorsLevelsAndKernelsAreNotFound) {
  TimingCache cache;
  CompileOptions options;
  options.threads = 1;
  options.isa = static_cast<int>(cpu::Isa::kScalar);
  options.timings = &cache;
  options.tune_seconds = 0.01;
  ASSERT_TRUE(compile_bytes(contested_model(), options));
  const std::string text = cache.to_string(), identity = cpu::cpu_identity();
  const size_t space = identity.find(' ');
  const std::string processor = identity.substr(0, space), caches = identity.substr(space);
  const std::tuple<const char*, std::string, std::string, bool> changes[] = {
      {"nothing", "", "", true},
      {"the processor", processor + ' ', "AuthenticOther/6/1/1 ", false},
      {"the stepping", processor + ' ', processor + "1 ", false},
      {"the caches", caches + ' ', " 48K/2048K/999K ", false},
      {"the level", " scalar threads=", " avx2 threads=", false},
      {"the threads", " threads=1\t", " threads=2\t", false},
      {"the kernel's version", "@", "@9", false},
      {"the problem", "x0=1x32x16x16", "x0=1x32x17x16", false}};
  for (const auto& [what, from, to, is_found] : changes) {
    const std::string changed = from.empty() ? text : with_all(text, from, to);
    EXPECT_EQ(changed == text, is_found) << what << " is not in " << text;
    for (double seconds : {0.0, 0.01}) {
      TimingCache other;
      ASSERT_TRUE(other.merge(changed));
      options.timings = &other;
      options.tune_seconds = seconds;
      CompileReport report;
      auto plan = compile_bytes(contested_model(), options, &report);
      ASSERT_TRUE(plan.has_value()) << plan.error().message;
      const bool is_measured = step_of(*plan, "Conv")->report.find(", measured ") != std::string::npos;
      EXPECT_EQ(is_measured, is_found || seconds > 0) << what << '\n' << step_of(*plan, "Conv")->report;
      EXPECT_EQ(report.tuning.measured > 0, !is_found && seconds > 0) << what;
    }
  }
}

// The text of a timing cache in which every line that holds `part` states `time`.
std::string with_time(const std::string& text, const std::string& part, const std::string& time) {
  std::string result;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    std::string line = text.substr(at, end - at);
    if (line.find(part) != std::string::npos) line = line.substr(0, line.rfind('\t')) + "\t" + time;
    result += line + "\n";
  }
  return result;
}

TEST(Tune, FewerThreadsAreARivalForSmallSteps) {
  TimingCache cache;
  CompileOptions options;
  options.threads = 2;
  options.timings = &cache;
  options.tune_seconds = 0.01;
  ASSERT_TRUE(compile_bytes(contested_model(), options));
  std::string text = cache.to_string();
  ASSERT_NE(text.find("/1@"), std::string::npos) << text;
  // One thread is said to be the fastest everywhere: the steps keep to it and compute the same.
  TimingCache alone;
  ASSERT_TRUE(alone.merge(with_time(text, "/1@", "0.5")));
  options.timings = &alone;
  auto plan = compile_bytes(contested_model(), options);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(step_of(*plan, "Conv")->attributes.get_int("hussar_threads", 0), 1);
}

// x[1,64,24,24] -> Conv 1x1 -> y: a product with room for several cuts.
Message product_model() {
  std::vector<float> weights(96 * 64);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.01F * static_cast<float>(static_cast<int>(i % 17) - 8);
  return model(graph({{node("Conv", {"x", "w"}, {"y"})},
                      {value("x", {1, 64, 24, 24})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {96, 64, 1, 1}, weights)}}));
}

TEST(Tune, ConfigurationsAreMeasuredAndHeldInThePlan) {
  TimingCache cache;
  CompileOptions options;
  options.threads = 2;
  options.isa = std::min(static_cast<int>(cpu::active_isa()), static_cast<int>(cpu::Isa::kAvx512));
  options.timings = &cache;
  options.tune_seconds = 5;
  CompileReport report;
  auto usual = compile_bytes(product_model(), options, &report);
  ASSERT_TRUE(usual.has_value()) << usual.error().message;
  // The kernel on all threads is said to beat its rivals, so that its configurations are measured; then they are fast.
  TimingCache winning;
  ASSERT_TRUE(winning.merge(with_time(cache.to_string(), "\tconv_tile@", "0.5")));
  options.timings = &winning;
  ASSERT_TRUE(compile_bytes(product_model(), options));
  const std::string text = winning.to_string(), forged_text = with_time(text, "\tconv_tile:", "0.001");
  EXPECT_NE(forged_text, text) << text;
  TimingCache forged_cache;
  ASSERT_TRUE(forged_cache.merge(forged_text));
  options.timings = &forged_cache;
  auto configured = compile_bytes(product_model(), options, &report);
  ASSERT_TRUE(configured.has_value());
  EXPECT_EQ(report.tuning.measured, 0);
  const PlanStep* step = step_of(*configured, "Conv");
  const std::string name = step->attributes.get_string(kConfigurationAttribute, "");
  EXPECT_NE(name, "");
  const size_t line = step->report.find("conv_tile:" + name);
  ASSERT_NE(line, std::string::npos) << step->report;
  EXPECT_LT(step->report.find(": chosen", line), step->report.find('\n', line)) << step->report;

  std::vector<Tensor> inputs = {Tensor(DType::kFloat32, {1, 64, 24, 24})};
  for (int64_t i = 0; i < inputs[0].elements(); ++i) inputs[0].data<float>()[i] = 0.1F * static_cast<float>(i % 23);
  std::vector<std::vector<float>> results;
  for (Plan* plan : {&*usual, &*configured}) {
    auto session = Session::create(std::make_shared<Plan>(std::move(*plan)));
    ASSERT_TRUE(session.has_value()) << session.error().message;
    auto outputs = (*session)->run_in_order(inputs);
    ASSERT_TRUE(outputs.has_value()) << outputs.error().message;
    const auto* numbers = (*outputs)[0].data<float>();
    results.emplace_back(numbers, numbers + (*outputs)[0].elements());
    // A plan that is built again chooses anew.
    options.tune_seconds = 0;
    TimingCache nothing;
    options.timings = &nothing;
    auto rebuilt = compile_plan((*session)->plan(), options);
    ASSERT_TRUE(rebuilt.has_value()) << rebuilt.error().message;
    EXPECT_FALSE(step_of(*rebuilt, "Conv")->attributes.has(kConfigurationAttribute));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(Tune, ModelsThatMadeUpInputsDoNotSuitAreLeftToPrediction) {
  // The index is out of range for every made-up input.
  std::vector<float> table = {1.0F};
  std::vector<float> weights(32 * 32 * 9, 0.5F);
  std::vector<int64_t> large = {100};
  Message bytes =
      model(graph({{node("Add", {"i", "big"}, {"j"}), node("Gather", {"t", "j"}, {"g"}),
                    node("Conv", {"x", "w"}, {"a"}), node("Add", {"a", "g"}, {"y"})},
                   {value("i", {1}, DType::kInt64), value("x", {1, 32, 16, 16})},
                   {any_shape("y")},
                   {tensor_of("t", DType::kFloat32, {1}, table), tensor_of("big", DType::kInt64, {1}, large),
                    tensor_of("w", DType::kFloat32, {32, 32, 3, 3}, weights)}}));
  TimingCache cache;
  CompileOptions options;
  options.threads = 1;
  options.timings = &cache;
  options.tune_seconds = 1;
  CompileReport report;
  auto plan = compile_bytes(bytes, options, &report);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_NE(report.tuning.skipped.find("made-up inputs"), std::string::npos) << report.tuning.to_string();
  EXPECT_EQ(cache.size(), 0U);
}

TEST(Tune, ProblemsAreTimedByText) {
  Target target{static_cast<int>(cpu::active_isa()), 1};
  auto times = measure_problem("conv x=1x16x12x12 w=16x16x3x3 pads=1,1,1,1 fuse=relu", target, 0.01);
  ASSERT_TRUE(times.has_value()) << times.error().message;
  EXPECT_EQ(times->flops, 2.0 * 16 * 12 * 12 * 16 * 9);
  int measured = 0, choices = 0;
  for (const ProblemTime& time : times->rivals) {
    EXPECT_NE(time.refusal.has_value(), time.median.has_value());
    measured += time.median.value_or(0) > 0 ? 1 : 0;
    choices += time.is_choice ? 1 : 0;
  }
  EXPECT_GE(measured, 3);
  EXPECT_EQ(times->rivals.back().name, "reference");
  EXPECT_EQ(choices, 1);
}

// The bytes of a problem are its own, however large the kernels that can do it make its weights.
TEST(Tune, BytesOfAProblemAreThoseThatItStates) {
  const std::pair<const char*, double> cases[] = {
      {"conv x=1x64x5x5 w=64x1x3x3 b=64 pads=1,1,1,1 group=64", 4.0 * 64 * (25 + 25 + 9 + 1)},
      {"matmul m=3 n=20 k=64", 4.0 * (3 * 64 + 64 * 20 + 3 * 20)},
      // Of 64 x 64 weights half stay, and four bits per 16 x 64 of them name them.
      {"conv x=1x64x5x5 w=64x64x1x1:const:2:4x64", 4.0 * (64 * 25 * 2 + 64 * 32) + 16 * 0.5},
      {"MatMul x0=5x64 x1=64x7:const:2:4", 4.0 * (5 * 64 + 5 * 7 + 32 * 7) + 16 * 7 * 0.5},
      {"hussar.QuantizedMatMul x0=5x64:uint8 x1=64x32:int8:const x2=32:const x_scale=0.05 x_zero_point=128",
       5 * 64 + 64 * 32 + 4 * 32 + 4 * 5 * 32},
      {"Add x0=8x9 x1=9", 4.0 * (8 * 9 * 2 + 9)}};
  for (const auto& [text, bytes] : cases) {
    auto times = measure_problem(text, Target{static_cast<int>(cpu::active_isa()), 1}, 0);
    ASSERT_TRUE(times.has_value()) << times.error().message;
    EXPECT_EQ(times->bytes, bytes) << text;
  }
}

TEST(Tune, TransposedProductsAreCounted) {
  for (const char* text :
       {"com.microsoft.FusedMatMul x0=3x20 x1=30x20 transB=1", "com.microsoft.FusedMatMul x0=20x3 x1=20x30 transA=1"}) {
    auto times = measure_problem(text, Target{}, 0);
    ASSERT_TRUE(times.has_value()) << times.error().message;
    EXPECT_EQ(times->flops, 2.0 * 3 * 20 * 30) << text;
  }
}

}  // namespace
}  // namespace hussar
