// INT8 without calibration: products find the range of what they read when the model runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compile/compile.h"
#include "compile/difference.h"
#include "compile/quantization.h"
#include "compile/sample.h"
#include "onnx/import.h"
#include "runtime/session.h"
#include "tests/support/onnx_writer.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Message weights(const std::string& name, const std::vector<int64_t>& dims, float size) {
  std::vector<float> values(static_cast<size_t>(dims[0] * dims[1]));
  for (size_t i = 0; i < values.size(); ++i) values[i] = size * std::sin(static_cast<float>(i) * 12.9898F + size);
  return tensor_of(name, DType::kFloat32, dims, values);
}

// One layer of a transformer over [1, 8, 32]: attention with one head, and two products with a Relu between.
Message layer() {
  const std::vector<int64_t> swap = {0, 2, 1};
  return model(graph(
      {{node("MatMul", {"x", "wq"}, {"q"}), node("MatMul", {"x", "wk"}, {"k"}), node("MatMul", {"x", "wv"}, {"v"}),
        node("Transpose", {"k"}, {"kt"}, {attribute("perm", swap)}), node("MatMul", {"q", "kt"}, {"s"}),
        node("Mul", {"s", "scale"}, {"t"}), node("Softmax", {"t"}, {"p"}), node("MatMul", {"p", "v"}, {"a"}),
        node("MatMul", {"a", "wo"}, {"o"}), node("Add", {"o", "x"}, {"r"}), node("MatMul", {"r", "w1"}, {"h"}),
        node("Relu", {"h"}, {"g"}), node("MatMul", {"g", "w2"}, {"m"}), node("Add", {"m", "r"}, {"y"})},
       {value("x", {1, 8, 32})},
       {any_shape("y")},
       {weights("wq", {32, 32}, 0.17F), weights("wk", {32, 32}, 0.18F), weights("wv", {32, 32}, 0.2F),
        weights("wo", {32, 32}, 0.19F), weights("w1", {32, 64}, 0.21F), weights("w2", {64, 32}, 0.15F),
        tensor_of("scale", DType::kFloat32, {}, std::vector<float>{0.1768F})}}));
}

Result<std::shared_ptr<const Plan>> compile_layer(const CompileOptions& options, CompileReport* report = nullptr) {
  auto imported = onnx::import_bytes(layer().bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  auto plan = compile_graph(std::move(imported->graph), options, report);
  if (!plan) return tl::unexpected(plan.error());
  return std::make_shared<const Plan>(std::move(*plan));
}

Tensor run(const std::shared_ptr<const Plan>& plan, float size) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session.has_value()) << session.error().message;
  Tensor x(DType::kFloat32, {1, 8, 32});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = size * std::sin(static_cast<float>(i) * 7.31F);
  auto outputs = (*session)->run_in_order(std::vector<Tensor>{x});
  EXPECT_TRUE(outputs.has_value()) << outputs.error().message;
  return (*outputs)[0].clone();
}

int64_t count(const Plan& plan, std::string_view op) {
  const auto& steps = plan.graph.steps;
  return std::count_if(steps.begin(), steps.end(), [&](const PlanStep& step) { return step.op == op; });
}

class DynamicInt8 : public testing::Test {
 protected:
  void SetUp() override {
    options_.threads = 1;
    auto plan = compile_layer(options_);
    ASSERT_TRUE(plan.has_value()) << plan.error().message;
    in_float_ = *plan;
    options_.quantization = dynamic_quantization();
  }
  CompileOptions options_;
  std::shared_ptr<const Plan> in_float_;
};

TEST_F(DynamicInt8, ProductsFollowTheSizeOfTheInput) {
  auto plan = compile_layer(options_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_GE(count(**plan, "hussar.QuantizedMatMul"), 4);  // queries, keys and values may be one
  // Queries, keys and values read the same bytes.
  EXPECT_EQ(count(**plan, "DynamicQuantizeLinear"), 4);
  EXPECT_EQ(count(**plan, "QuantizeLinear"), 0);
  EXPECT_EQ(count(**plan, "hussar.QuantizedAttention"), 1);
  EXPECT_EQ(count(**plan, "hussar.QuantizeHeads"), 1);
  for (float size : {0.01F, 1.0F, 50.0F}) {
    const Difference apart = difference(run(in_float_, size), run(*plan, size));
    EXPECT_GT(apart.sqnr_db, 25) << size;
    EXPECT_GT(apart.error(), 0) << size;
  }
}

TEST_F(DynamicInt8, KernelsAgreeWithReferenceCode) {
  auto fast = compile_layer(options_);
  options_.isa = 0;
  auto scalar = compile_layer(options_);
  ASSERT_TRUE(fast && scalar);
  EXPECT_LT(difference(run(*scalar, 1), run(*fast, 1)).error(), 0.02);
}

TEST_F(DynamicInt8, StaysInFloatsWhereThatIsAskedFor) {
  auto plain = compile_layer(options_);
  ASSERT_TRUE(plain.has_value());
  auto quantization = dynamic_quantization({"y"});
  quantization->float_nodes["m"] = "asked for";
  options_.quantization = quantization;
  CompileReport report;
  auto plan = compile_layer(options_, &report);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_LT(count(**plan, "hussar.QuantizedMatMul"), count(**plain, "hussar.QuantizedMatMul"));
}

TEST_F(DynamicInt8, AttentionStaysInFloatsWhereThatIsAskedFor) {
  auto quantization = dynamic_quantization({"y"});
  quantization->float_nodes["a"] = "asked for";
  options_.quantization = quantization;
  auto plan = compile_layer(options_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_EQ(count(**plan, "hussar.QuantizedAttention") + count(**plan, "hussar.QuantizeHeads"), 0);
  EXPECT_EQ(count(**plan, "hussar.Attention"), 1);
}

TEST_F(DynamicInt8, IsChosenByTime) {
  options_.tune_seconds = 0.5;
  CompileReport report;
  auto plan = compile_layer(options_, &report);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  ASSERT_FALSE(report.int8.choices.empty());
  EXPECT_LE(report.int8.chosen_microseconds, report.int8.float_microseconds);
  for (const Int8Choice& choice : report.int8.choices) EXPECT_GT(choice.int8_microseconds, 0) << choice.name;
}

}  // namespace
}  // namespace hussar
