// INT8: what the passes make of a graph, how far that is from FP32, and the choice between both.
#include "compile/choose_int8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compile/compile.h"
#include "compile/difference.h"
#include "compile/fp8.h"
#include "compile/precision.h"
#include "compile/sample.h"
#include "onnx/import.h"
#include "runtime/session.h"
#include "tests/support/onnx_writer.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::vector<float> numbers(size_t count, float size) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = size * std::sin(static_cast<float>(i) * 12.9898F + 1);
  return values;
}

// A residual block, a depthwise convolution and a product: x -> first -> second + skip -> depth -> pool -> fc.
Message block() {
  const std::vector<int64_t> pads = {1, 1, 1, 1};
  return model(graph({{node("Conv", {"x", "w0"}, {"a"}, {attribute("pads", pads)}), node("Relu", {"a"}, {"skip"}),
                       node("Conv", {"skip", "w1", "b1"}, {"b"}, {attribute("pads", pads)}), node("Relu", {"b"}, {"c"}),
                       node("Conv", {"c", "w2"}, {"d"}), node("Add", {"d", "skip"}, {"e"}), node("Relu", {"e"}, {"f"}),
                       node("Conv", {"f", "w3"}, {"g"}, {attribute("group", int64_t{16}), attribute("pads", pads)}),
                       node("GlobalAveragePool", {"g"}, {"h"}), node("Flatten", {"h"}, {"i"}),
                       node("MatMul", {"i", "w4"}, {"j"}), node("Add", {"j", "b4"}, {"y"})},
                      {value("x", {1, 3, 12, 12})},
                      {any_shape("y")},
                      {tensor_of("w0", DType::kFloat32, {16, 3, 3, 3}, numbers(432, 0.4F)),
                       tensor_of("w1", DType::kFloat32, {16, 16, 3, 3}, numbers(2304, 0.2F)),
                       tensor_of("b1", DType::kFloat32, {16}, numbers(16, 0.1F)),
                       tensor_of("w2", DType::kFloat32, {16, 16, 1, 1}, numbers(256, 0.4F)),
                       tensor_of("w3", DType::kFloat32, {16, 1, 3, 3}, numbers(144, 0.5F)),
                       tensor_of("w4", DType::kFloat32, {16, 10}, numbers(160, 0.5F)),
                       tensor_of("b4", DType::kFloat32, {10}, numbers(10, 0.1F))}}));
}

Result<Plan> compile_block(const CompileOptions& options, CompileReport* report = nullptr) {
  auto imported = onnx::import_bytes(block().bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  return compile_graph(std::move(imported->graph), options, report);
}

std::vector<Tensor> run(const std::shared_ptr<const Plan>& plan, std::map<std::string, Tensor>* seen = nullptr) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session.has_value()) << session.error().message;
  if (seen != nullptr) {
    (*session)->set_observer([seen](const std::string& name, const Tensor& tensor) { (*seen)[name] = tensor.clone(); });
  }
  auto inputs = random_inputs(input_facts(plan->graph), {}, 1);
  if (seen != nullptr) (*seen)["x"] = (*inputs)[0];
  auto outputs = (*session)->run_in_order(*inputs);
  EXPECT_TRUE(outputs.has_value()) << outputs.error().message;
  std::vector<Tensor> copies;
  for (const Tensor& output : *outputs) copies.push_back(output.clone());
  return copies;
}

// The ranges that the tensors of the FP32 plan take.
std::shared_ptr<Quantization> ranges_of(const std::shared_ptr<const Plan>& plan) {
  std::map<std::string, Tensor> seen;
  run(plan, &seen);
  auto quantization = std::make_shared<Quantization>();
  for (const auto& [name, tensor] : seen) {
    if (tensor.dtype() != DType::kFloat32) continue;
    const auto* data = tensor.data<float>();
    const float low = std::min(0.0F, *std::min_element(data, data + tensor.elements()));
    const float high = std::max(0.0F, *std::max_element(data, data + tensor.elements()));
    if (!(high > low)) continue;
    const float scale = (high - low) / 255;
    quantization->activations[name] = {scale, static_cast<int32_t>(std::lround(-low / scale)), DType::kUInt8};
  }
  return quantization;
}

int count(const PlanGraph& graph, std::string_view op) {
  return static_cast<int>(
      std::count_if(graph.steps.begin(), graph.steps.end(), [&](const PlanStep& step) { return step.op == op; }));
}

class Int8Plan : public testing::Test {
 protected:
  void SetUp() override {
    options_.threads = 1;
    auto plan = compile_block(options_);
    ASSERT_TRUE(plan.has_value()) << plan.error().message;
    in_float_ = std::make_shared<const Plan>(std::move(*plan));
    quantization_ = ranges_of(in_float_);
  }
  CompileOptions options_;
  std::shared_ptr<const Plan> in_float_;
  std::shared_ptr<Quantization> quantization_;
};

TEST_F(Int8Plan, EveryProductBecomesInt8AndStaysClose) {
  options_.quantization = quantization_;
  auto plan = compile_block(options_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  auto shared = std::make_shared<const Plan>(std::move(*plan));
  EXPECT_EQ(count(shared->graph, "hussar.QuantizedConv"), 4);
  EXPECT_EQ(count(shared->graph, "hussar.QuantizedMatMul"), 1);
  EXPECT_EQ(count(shared->graph, "Conv"), 0);
  // The picture and what the pooling leaves are quantized; between the convolutions everything is bytes.
  EXPECT_EQ(count(shared->graph, "QuantizeLinear"), 2);
  const Difference apart = difference(run(in_float_)[0], run(shared)[0]);
  EXPECT_LT(apart.error(), 0.05);
  EXPECT_GT(apart.error(), 0);
  EXPECT_GT(apart.sqnr_db, 25);
}

// Padding and sums of FP8 are as simple as those of floats: the same steps as with integers, but averages of GPUs read
// numbers. The largest error is some steps of a sixteenth.
TEST_F(Int8Plan, EveryProductBecomesFp8) {
  options_.quantization = in_fp8(*quantization_);
  auto plan = compile_block(options_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  auto shared = std::make_shared<const Plan>(std::move(*plan));
  EXPECT_EQ(count(shared->graph, "hussar.QuantizedConv"), 4);
  EXPECT_EQ(count(shared->graph, "hussar.QuantizedMatMul"), 1);
  EXPECT_EQ(count(shared->graph, "QuantizeLinear"), 2);
  EXPECT_EQ(count(shared->graph, "GlobalAveragePool"), 1);
  int bytes = 0;
  for (const PlanStep& step : shared->graph.steps) {
    const bool is_product = precision_name(shared->graph, step) == "fp8";
    EXPECT_EQ(is_product, step.op.starts_with("hussar.Quantized")) << step.name;
    bytes += is_product && shared->graph.values[step.outputs[0]].dtype == DType::kFloat8E4M3FN ? 1 : 0;
  }
  EXPECT_EQ(bytes, 3);
  const Difference apart = difference(run(in_float_)[0], run(shared)[0]);
  EXPECT_LT(apart.error(), 0.1);
  EXPECT_GT(apart.error(), 0);
  EXPECT_GT(apart.sqnr_db, 20);
}

// The product of a plan without kernels is the same graph in reference code.
TEST_F(Int8Plan, KernelsAgreeWithReferenceCode) {
  options_.quantization = quantization_;
  auto fast = compile_block(options_);
  options_.isa = 0;
  auto scalar = compile_block(options_);
  ASSERT_TRUE(fast && scalar);
  const Difference apart = difference(run(std::make_shared<const Plan>(std::move(*scalar)))[0],
                                      run(std::make_shared<const Plan>(std::move(*fast)))[0]);
  EXPECT_LT(apart.error(), kInt8Tolerance);
}

TEST_F(Int8Plan, NodesAreKeptInFloatByName) {
  for (const PlanStep& step : in_float_->graph.steps) {
    if (step.op == "MatMul") quantization_->float_nodes[step.name] = "asked for";
  }
  options_.quantization = quantization_;
  auto plan = compile_block(options_);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(count(plan->graph, "hussar.QuantizedMatMul"), 0);
  auto kept = std::find_if(plan->graph.steps.begin(), plan->graph.steps.end(),
                           [](const PlanStep& step) { return step.op == "MatMul"; });
  ASSERT_NE(kept, plan->graph.steps.end());
  EXPECT_NE(kept->report.find("no INT8: asked for"), std::string::npos) << kept->report;
}

TEST_F(Int8Plan, UnknownRangesStayInFloat) {
  options_.quantization = std::make_shared<const Quantization>();
  auto plan = compile_block(options_);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(count(plan->graph, "hussar.QuantizedConv"), 0);
}

TEST_F(Int8Plan, TuningDecidesStepByStepAndSaysSo) {
  options_.quantization = quantization_;
  options_.tune_seconds = 1;
  CompileReport report;
  auto plan = compile_block(options_, &report);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  ASSERT_FALSE(report.int8.choices.empty());
  EXPECT_GT(report.int8.float_microseconds, 0);
  EXPECT_LE(report.int8.chosen_microseconds, report.int8.float_microseconds);
  const auto int8 = std::count_if(report.int8.choices.begin(), report.int8.choices.end(),
                                  [](const Int8Choice& choice) { return choice.int8; });
  EXPECT_EQ(int8 > 0, count(plan->graph, "hussar.QuantizedConv") + count(plan->graph, "hussar.QuantizedMatMul") > 0);
}

// A table that two nodes read becomes bytes once, with a scale for every row.
TEST(Int8Embeddings, RowsKeepTheirOwnScale) {
  std::vector<float> table(2048 * 64);
  for (size_t i = 0; i < table.size(); ++i) {
    const auto row = static_cast<float>(i / 64);
    table[i] = (row + 1) * std::sin(static_cast<float>(i));
  }
  auto imported = onnx::import_bytes(model(graph({{node("Gather", {"t", "i"}, {"a"}), node("Gather", {"t", "j"}, {"b"}),
                                                   node("Add", {"a", "b"}, {"y"})},
                                                  {value("i", {"N"}, DType::kInt64), value("j", {"N"}, DType::kInt64)},
                                                  {any_shape("y")},
                                                  {tensor_of("t", DType::kFloat32, {2048, 64}, table)}}))
                                         .bytes(),
                                     nullptr, "");
  ASSERT_TRUE(imported.has_value()) << imported.error().message;
  CompileOptions options;
  options.threads = 1;
  options.quantization = std::make_shared<const Quantization>();
  auto plan = compile_graph(std::move(imported->graph), options);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_EQ(count(plan->graph, "hussar.GatherBytes"), 2);
  EXPECT_LT(plan->constants.size(), table.size() * 5 / 4);
  auto session = Session::create(std::make_shared<const Plan>(std::move(*plan)));
  ASSERT_TRUE(session.has_value());
  Tensor i(DType::kInt64, {2}), j(DType::kInt64, {2});
  i.data<int64_t>()[0] = i.data<int64_t>()[1] = 0;
  j.data<int64_t>()[0] = -1;
  j.data<int64_t>()[1] = 0;
  auto outputs = (*session)->run_in_order(std::vector<Tensor>{i, j});
  ASSERT_TRUE(outputs.has_value()) << outputs.error().message;
  const auto* y = (*outputs)[0].data<float>();
  for (int column = 0; column < 64; ++column) {
    EXPECT_NEAR(y[column], table[static_cast<size_t>(column)] + table[2047 * 64 + static_cast<size_t>(column)],
                2048.0 / 254 + 0.01);
    EXPECT_NEAR(y[64 + column], 2 * table[static_cast<size_t>(column)], 2.0 / 254 + 1e-5);
  }
}

}  // namespace
}  // namespace hussar
