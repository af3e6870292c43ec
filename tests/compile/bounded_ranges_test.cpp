// What a softmax, sigmoid or tanh gives is quantized with its fixed range where no data tell another one.
#include <gtest/gtest.h>

#include <cmath>

#include "compile/compile.h"
#include "compile/difference.h"
#include "onnx/import.h"
#include "runtime/session.h"
#include "tests/support/onnx_writer.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Result<std::shared_ptr<const Plan>> compile_product_of(const char* op, const CompileOptions& options) {
  std::vector<float> weights(16 * 8);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::sin(static_cast<float>(i) * 12.9898F);
  const Message bytes = model(graph({{node(op, {"x"}, {"a"}), node("MatMul", {"a", "w"}, {"y"})},
                                     {value("x", {4, 16})},
                                     {any_shape("y")},
                                     {tensor_of("w", DType::kFloat32, {16, 8}, weights)}}));
  auto imported = onnx::import_bytes(bytes.bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  auto plan = compile_graph(std::move(imported->graph), options);
  if (!plan) return tl::unexpected(plan.error());
  return std::make_shared<const Plan>(std::move(*plan));
}

// Large inputs reach both ends of the range.
Tensor run(const std::shared_ptr<const Plan>& plan) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session.has_value()) << session.error().message;
  Tensor x(DType::kFloat32, {4, 16});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = 9 * std::sin(static_cast<float>(i) * 7.31F);
  auto outputs = (*session)->run_in_order(std::vector<Tensor>{x});
  EXPECT_TRUE(outputs.has_value()) << outputs.error().message;
  return (*outputs)[0].clone();
}

bool has_int8(const Plan& plan) {
  for (const PlanStep& step : plan.graph.steps) {
    if (step.op == "hussar.QuantizedMatMul") return true;
  }
  return false;
}

class BoundedRanges : public testing::TestWithParam<const char*> {};

TEST_P(BoundedRanges, NeedNoData) {
  CompileOptions options;
  options.threads = 1;
  auto in_float = compile_product_of(GetParam(), options);
  options.quantization = std::make_shared<const Quantization>();
  auto in_int8 = compile_product_of(GetParam(), options);
  ASSERT_TRUE(in_float && in_int8);
  ASSERT_TRUE(has_int8(**in_int8));
  const Difference apart = difference(run(*in_float), run(*in_int8));
  EXPECT_GT(apart.sqnr_db, 35);
  EXPECT_GT(apart.error(), 0);
}

INSTANTIATE_TEST_SUITE_P(All, BoundedRanges, testing::Values("Softmax", "Sigmoid", "HardSigmoid", "Tanh"));

TEST(UnboundedRanges, StayUnknown) {
  CompileOptions options;
  options.threads = 1;
  options.quantization = std::make_shared<const Quantization>();
  auto plan = compile_product_of("Relu", options);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_FALSE(has_int8(**plan));
}

}  // namespace
}  // namespace hussar
