// Models whose products normalize their rows, on a GPU of Hopper: an emulated one where there is none.
#include <gtest/gtest.h>

#include "compile/compile.h"
#include "compile/optimize.h"
#include "onnx/import.h"
#include "ops/infer.h"
#include "ops/product_norm.h"
#include "passes/pass.h"
#include "tests/support/device_models.h"

namespace hussar {

extern const Pass normalize_products_pass;

namespace tests {
namespace {

// Two products with a residual and a normalization between them, whose result, or what it is made of, is added again.
Message residual_model(bool norm_comes_first) {
  auto weights = [](const char* name, int64_t rows, int64_t columns) {
    std::vector<float> values(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = 0.02F * static_cast<float>(static_cast<int>(i * 7 % 23) - 11);
    return tensor_of(name, DType::kFloat32, {rows, columns}, values);
  };
  return model(graph({{node("MatMul", {"x", "u"}, {"a"}), node("Relu", {"a"}, {"r"}), node("MatMul", {"r", "v"}, {"b"}),
                       node("Add", {"b", "c"}, {"d"}), node("Add", {"d", "a"}, {"s"}),
                       node("LayerNormalization", {"s", "g", "h"}, {"n"}), node("MatMul", {"n", "w"}, {"p"}),
                       node("Add", {"p", norm_comes_first ? "s" : "n"}, {"y"})},
                      {value("x", {70, 64})},
                      {any_shape("y")},
                      {weights("u", 64, 128), weights("v", 128, 128), weights("w", 128, 128),
                       tensor_of("c", DType::kFloat32, {128}, std::vector<float>(128, 0.3F)),
                       tensor_of("g", DType::kFloat32, {128}, std::vector<float>(128, 0.8F)),
                       tensor_of("h", DType::kFloat32, {128}, std::vector<float>(128, 0.1F))}}));
}

// Every kernel takes 50 us, or this one so many.
Timings timings_with(double of_norm) {
  return [of_norm](const Problem&, const Rival& rival) -> std::optional<double> {
    return rival.tactic->kernel == "cuda_product_norm" ? of_norm : 50.0;
  };
}

struct Case {
  CompileOptions options;
  double tolerance;
};

Case case_of(bool in_bytes) {
  Case made{for_device(), in_bytes ? 3e-2 : 2e-3};
  if (is_emulated(use_test_device())) made.options.sm = 90;
  made.options.fp16 = true;
  made.options.chooses_int8 = false;
  if (!in_bytes) return made;
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"x", {4.0F / 255, 128}}, {"r", {4.0F / 255, 0}}, {"n", {6.0F / 255, 128}}};
  made.options.quantization = quantization;
  return made;
}

// The graph of the model behind all passes, the last of which is told that the kernel takes so long.
Result<Graph> optimized(const Message& network, const CompileOptions& options, double microseconds, int* rewrites) {
  auto imported = onnx::import_bytes(network.bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  Graph graph = HUSSAR_TRY(optimize_graph(std::move(imported->graph), options));
  const ElementFacts facts = HUSSAR_TRY(infer_graph(graph));
  Target target;
  target.place = Place::kDevice;
  target.sm = options.sm;
  target.no_fp16 = {};
  const Timings timings = timings_with(microseconds);
  PassContext context{graph, target, facts, timings};
  *rewrites = HUSSAR_TRY(normalize_products_pass.run(context));
  graph.sweep();
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(graph.verify());
  HUSSAR_TRY(infer_graph(graph));
  return graph;
}

int count_norms(const Plan& plan) {
  return static_cast<int>(std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                                        [](const PlanStep& step) { return is_product_norm(step.op); }));
}

void expect_normalizes(bool norm_comes_first, bool in_bytes) {
  const Message network = residual_model(norm_comes_first);
  const Case made = case_of(in_bytes);
  if (made.options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  CompileOptions reference;
  reference.reference_only = true;
  auto expected = build(network.bytes(), reference);
  ASSERT_TRUE(expected) << expected.error().message;
  const std::vector<float> wanted = first_output_of(*expected);
  int rewrites = 0;
  auto graph = optimized(network, made.options, 80, &rewrites);
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(rewrites, 1);
  auto plan = freeze_graph(std::move(*graph), made.options);
  ASSERT_TRUE(plan) << plan.error().message;
  auto fused = reload(*plan);
  ASSERT_TRUE(fused) << fused.error().message;
  EXPECT_EQ(count_norms(**fused), 1);
  for (const PlanStep& step : (*fused)->graph.steps) {
    if (!is_product_norm(step.op)) continue;
    EXPECT_EQ(step.kernel, "cuda_product_norm") << step.report;
  }
  EXPECT_LT(largest_difference(first_output_of(*fused), wanted), made.tolerance);
  auto on_host = compile_plan(**fused, {});
  ASSERT_TRUE(on_host) << on_host.error().message;
  EXPECT_EQ(count_norms(*on_host), 0);
  EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*on_host))), wanted),
            made.tolerance);
  CompileOptions older = made.options;
  older.sm = 80;
  older.quantization = nullptr;
  auto on_older = compile_plan(**fused, older);
  ASSERT_TRUE(on_older) << on_older.error().message;
  EXPECT_EQ(count_norms(*on_older), 0);
  if (is_emulated(use_test_device()))
    EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*on_older))), wanted),
              made.tolerance);
}

TEST(CudaProductNormSession, Halves) { expect_normalizes(false, false); }
TEST(CudaProductNormSession, Bytes) { expect_normalizes(false, true); }
TEST(CudaProductNormSession, HalvesBesideWhatIsNormalized) { expect_normalizes(true, false); }
TEST(CudaProductNormSession, BytesBesideWhatIsNormalized) { expect_normalizes(true, true); }

// What takes as long as the two steps, or was not measured, stays two steps.
TEST(CudaProductNormSession, OnlyWhereFaster) {
  const Message network = residual_model(false);
  const Case made = case_of(false);
  if (made.options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  int rewrites = -1;
  auto graph = optimized(network, made.options, 99, &rewrites);
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(rewrites, 0);
  const auto is_told = [](const auto& node) { return node->note.find("left apart") != std::string::npos; };
  EXPECT_EQ(std::count_if(graph->nodes().begin(), graph->nodes().end(), is_told), 1);
  auto plan = plan_for_hopper(network, made.options);
  ASSERT_NE(plan, nullptr);
  EXPECT_EQ(count_norms(*plan), 0);
}

// Where plans are tuned the step is measured beside the two, and the plan says what came of it.
TEST(CudaProductNormSession, IsMeasured) {
  Case made = case_of(false);
  // Emulated, the kernels that are measured take a minute to compile.
  if (is_emulated(use_test_device()) || made.options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  made.options.tune_seconds = 60;
  auto plan = build(residual_model(false).bytes(), made.options);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto& steps = (*plan)->graph.steps;
  EXPECT_TRUE(std::any_of(steps.begin(), steps.end(), [](const PlanStep& step) {
    return step.report.find("normalize_products: ") != std::string::npos &&
           step.report.find("measured") != std::string::npos;
  }));
}

}  // namespace
}  // namespace tests
}  // namespace hussar
