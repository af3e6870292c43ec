// Tuning on a device by a clock that goes on by a millisecond whenever it is read: what has been measured when the
// budget ends early, and what is chosen then.
#include "compile/tune_device.h"

#include <gtest/gtest.h>

#include <set>

#include "compile/compile.h"
#include "compile/optimize.h"
#include "compile/tune.h"
#include "onnx/import.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

std::function<double()> scripted_clock() {
  return [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };
}
// Of one contender: two runs and seven rounds, each between two looks at the clock; then whether there is time left.
constexpr double kVisit = 19e-3;

// Of a budget, what rivals alone have when it ends early.
constexpr double kAlone = 0.85;

// A line of a timing cache, of a rival alone.
struct Line {
  std::string problem, rival;
};
std::vector<Line> lines_of(const TimingCache& cache) {
  std::vector<Line> lines;
  const std::string text = cache.to_string();
  for (size_t at = text.find('\n') + 1; at < text.size();) {
    const size_t end = text.find('\n', at), first = text.find('\t', at), second = text.find('\t', first + 1);
    const Line line{text.substr(first + 1, second - first - 1),
                    text.substr(second + 1, text.find('\t', second + 1) - second - 1)};
    if (line.problem.find(" in plan ") == std::string::npos) lines.push_back(line);
    at = end + 1;
  }
  return lines;
}
std::set<std::string> problems_of(const TimingCache& cache) {
  std::set<std::string> problems;
  for (const Line& line : lines_of(cache)) problems.insert(line.problem);
  return problems;
}

// Three transposes, the second of which is the largest, and two of the third kind.
Message transposes() {
  auto by = [](const char* from, const char* to) {
    return node("Transpose", {from}, {to}, {attribute("perm", std::vector<int64_t>{0, 2, 1})});
  };
  return model(
      graph({{by("a", "p"), by("b", "q"), by("c", "r"), by("d", "s")},
             {value("a", {1, 40, 24}), value("b", {8, 80, 48}), value("c", {2, 48, 40}), value("d", {2, 48, 40})},
             {any_shape("p"), any_shape("q"), any_shape("r"), any_shape("s")},
             {}}));
}

Result<Plan> compile_transposes(CompileOptions options, CompileReport* report) {
  auto imported = onnx::import_bytes(transposes().bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  return compile_graph(std::move(imported->graph), options, report);
}

class CudaTuning : public ::testing::Test {
 protected:
  void SetUp() override {
    options_ = for_device();
    options_.timings = &cache_;
    options_.tune_clock = scripted_clock();
  }
  TimingCache cache_;
  CompileOptions options_;
  CompileReport report_;
};

// Every problem has its predicted winner measured before any has a second rival.
TEST_F(CudaTuning, BreadthFirst) {
  options_.tune_seconds = 2.5 * kVisit / kAlone;
  ASSERT_TRUE(compile_transposes(options_, &report_));
  EXPECT_EQ(report_.tuning.skipped, "");
  EXPECT_EQ(report_.tuning.problems, 3);
  EXPECT_EQ(report_.tuning.measured, 3);
  EXPECT_EQ(problems_of(cache_).size(), 3U);
  EXPECT_EQ(lines_of(cache_).size(), 3U) << cache_.to_string();
}

// The most expensive comes first: what two steps do counts twice, then the largest.
TEST_F(CudaTuning, MostExpensiveFirst) {
  options_.tune_seconds = 0.5 * kVisit / kAlone;
  ASSERT_TRUE(compile_transposes(options_, &report_));
  ASSERT_EQ(lines_of(cache_).size(), 1U) << cache_.to_string();
  EXPECT_NE(lines_of(cache_)[0].problem.find("2x40x48"), std::string::npos) << cache_.to_string();
  options_.tune_seconds = 1.5 * kVisit / kAlone;
  TimingCache both;
  options_.timings = &both;
  options_.tune_clock = scripted_clock();
  ASSERT_TRUE(compile_transposes(options_, &report_));
  ASSERT_EQ(lines_of(both).size(), 2U) << both.to_string();
  EXPECT_NE(both.to_string().find("8x48x80"), std::string::npos) << both.to_string();
}

// What is kept for contests in the whole plan is for rivals alone while much is still to be gained: a first look at a
// problem is.
TEST_F(CudaTuning, TheReserveIsForLargeGains) {
  auto imported = onnx::import_bytes(transposes().bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  auto optimized = optimize_graph(std::move(imported->graph), options_);
  ASSERT_TRUE(optimized) << optimized.error().message;
  const Graph* const form = &*optimized;
  Target target;
  target.place = Place::kDevice;
  target.sm = options_.sm;
  const double visits[] = {0, 1, 1e3};
  size_t lines[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    TimingCache cache;
    ASSERT_TRUE(
        tune({&form, 1}, target, {0.5 * kVisit, visits[i] * kVisit, {}, false, nullptr, scripted_clock()}, cache));
    lines[i] = lines_of(cache).size();
  }
  EXPECT_EQ(lines[0], 1U);
  EXPECT_EQ(lines[1], 2U);
  EXPECT_GE(lines[2], 3U);
}

// A budget that lasts leaves nothing open; with the cache the plan is made again without a measurement, and the cache
// stays as it is, in memory as from a file.
TEST_F(CudaTuning, CacheMakesTheSamePlan) {
  options_.tune_seconds = 100;
  auto plan = compile_transposes(options_, &report_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(report_.tuning.measured, 3);
  const std::string known = cache_.to_string();
  TimingCache read;
  ASSERT_TRUE(read.merge(known));
  for (TimingCache* cache : {&cache_, &read}) {
    options_.timings = cache;
    report_ = {};
    auto again = compile_transposes(options_, &report_);
    ASSERT_TRUE(again);
    EXPECT_EQ(report_.tuning.measured, 0);
    EXPECT_EQ(cache->to_string(), known);
    ASSERT_EQ(again->graph.steps.size(), plan->graph.steps.size());
    for (size_t i = 0; i < plan->graph.steps.size(); ++i)
      EXPECT_EQ(again->graph.steps[i].report, plan->graph.steps[i].report);
  }
}

// What ended early is taken up again.
TEST_F(CudaTuning, GoesOnWhereItEnded) {
  options_.tune_seconds = 1.5 * kVisit / kAlone;
  ASSERT_TRUE(compile_transposes(options_, &report_));
  EXPECT_EQ(report_.tuning.measured, 2);
  const auto before = problems_of(cache_);
  options_.tune_seconds = 1e-9;
  report_ = {};
  ASSERT_TRUE(compile_transposes(options_, &report_));
  EXPECT_EQ(report_.tuning.measured, 0);  // something is known, and no time is left
  options_.tune_seconds = 100;
  ASSERT_TRUE(compile_transposes(options_, &report_));
  EXPECT_EQ(problems_of(cache_).size(), 3U);
  for (const std::string& problem : before) EXPECT_TRUE(problems_of(cache_).contains(problem));
}

// Two products, in halves and in INT8, on a GPU of sm_80. With 2:4 weights two of four that follow each other are
// zeros.
Message products(bool two_of_four = false) {
  auto weights = [&](int64_t columns, int period) {
    std::vector<float> list = numbers(static_cast<size_t>(64 * columns), period);
    for (size_t i = 0; i < list.size() && two_of_four; ++i) {
      if (i / static_cast<size_t>(columns) % 4 < 2) list[i] = 0;
    }
    return list;
  };
  return model(graph({{node("MatMul", {"x", "v"}, {"a"}), node("Relu", {"a"}, {"b"}), node("Gemm", {"b", "w"}, {"y"})},
                      {value("x", {64, 64})},
                      {any_shape("y")},
                      {tensor_of("v", DType::kFloat32, {64, 64}, weights(64, 7)),
                       tensor_of("w", DType::kFloat32, {64, 128}, weights(128, 5))}}));
}

// A pruned model finds what dense kernels took for the one that it was made from: only 2:4 kernels are left to measure.
TEST_F(CudaTuning, PrunedWeightsHaveTheTimesOfDenseKernels) {
  if (options_.sm == 0) options_.sm = 80;
  if (options_.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
  options_.fp16 = true;
  options_.tune_seconds = 100;
  std::set<std::string> dense;
  for (bool two_of_four : {false, true}) {
    auto imported = onnx::import_bytes(products(two_of_four).bytes(), nullptr, "");
    ASSERT_TRUE(imported);
    auto plan = compile_graph(std::move(imported->graph), options_, &report_);
    ASSERT_TRUE(plan) << plan.error().message;
    if (!two_of_four) dense = problems_of(cache_);
  }
  size_t sparse = 0;
  for (const Line& line : lines_of(cache_)) {
    if (line.rival.starts_with("settled@")) continue;
    const bool is_marked = line.problem.find(":2:4") != std::string::npos;
    EXPECT_EQ(is_marked, line.rival.find("sparse") != std::string::npos) << line.problem << ": " << line.rival;
    EXPECT_EQ(is_marked, !dense.contains(line.problem)) << line.problem;
    sparse += is_marked ? 1 : 0;
  }
  EXPECT_GE(sparse, 2U) << cache_.to_string();
}

// A budget that ends after the first look at each problem has looked at both precisions of every product, and INT8 is
// taken only where it was measured to be faster.
TEST_F(CudaTuning, BothPrecisionsAreMeasuredBeforeEitherIsRefined) {
  if (options_.sm == 0) options_.sm = 80;
  if (options_.sm < 80) GTEST_SKIP() << "skipped: needs tensor cores";
  options_.fp16 = true;
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"x", {2.0F / 255, 0}}, {"b", {4.0F / 255, 0}}};
  options_.quantization = quantization;
  options_.tune_seconds = 3.5 * kVisit / 0.8 / kAlone;
  auto imported = onnx::import_bytes(products().bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  auto plan = compile_graph(std::move(imported->graph), options_, &report_);
  ASSERT_TRUE(plan) << plan.error().message;
  int in_halves = 0, in_int8 = 0;
  for (const std::string& problem : problems_of(cache_)) {
    in_halves += problem.starts_with("MatMul") ? 1 : 0;
    in_int8 += problem.starts_with("hussar.QuantizedMatMul") ? 1 : 0;
  }
  EXPECT_EQ(in_halves, 2) << cache_.to_string();
  EXPECT_EQ(in_int8, 2) << cache_.to_string();
  ASSERT_EQ(report_.int8.choices.size(), 2U);
  for (const Int8Choice& choice : report_.int8.choices) {
    EXPECT_GT(choice.float_microseconds, 0);
    if (choice.int8) {
      EXPECT_LT(choice.int8_microseconds, choice.float_microseconds);
    }
  }
}

}  // namespace
}  // namespace hussar::tests
