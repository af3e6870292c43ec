// Every step that multiplies in floats although INT8 is allowed says why.
#include "compile/float_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "onnx/import.h"
#include "tests/support/onnx_writer.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Message weights(const std::string& name, const std::vector<int64_t>& dims) {
  int64_t count = 1;
  for (int64_t dim : dims) count *= dim;
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.3F * std::sin(static_cast<float>(i) * 12.9898F + 1);
  return tensor_of(name, DType::kFloat32, dims, values);
}

// A convolution and what has no INT8 form: x -> Conv -> ConvTranspose -> Reshape -> MatMul of two activations -> LSTM.
Message mixture() {
  return model(graph({{node("Conv", {"x", "w"}, {"a"}), node("ConvTranspose", {"a", "u"}, {"b"}),
                       node("Reshape", {"b", "rows"}, {"c"}), node("Transpose", {"c"}, {"d"}),
                       node("MatMul", {"c", "d"}, {"e"}), node("Reshape", {"e", "series"}, {"f"}),
                       node("LSTM", {"f", "lw", "lr"}, {"y"}, {attribute("hidden_size", int64_t{2})})},
                      {value("x", {1, 3, 6, 6})},
                      {any_shape("y")},
                      {weights("w", {4, 3, 3, 3}), weights("u", {4, 2, 2, 2}), weights("lw", {1, 8, 2}),
                       weights("lr", {1, 8, 2}), tensor_of("rows", DType::kInt64, {2}, std::vector<int64_t>{2, 25}),
                       tensor_of("series", DType::kInt64, {3}, std::vector<int64_t>{2, 1, 2})}}));
}

Result<Plan> compile_mixture(const CompileOptions& options, CompileReport& report) {
  auto imported = onnx::import_bytes(mixture().bytes(), nullptr, "");
  if (!imported) return tl::unexpected(imported.error());
  return compile_graph(std::move(imported->graph), options, &report);
}

std::string reason_for(const std::vector<FloatProduct>& products, std::string_view op) {
  auto it = std::find_if(products.begin(), products.end(), [&](const FloatProduct& product) {
    return product.op == op || (op == "MatMul" && product.op == "com.microsoft.FusedMatMul");
  });
  return it == products.end() ? "absent" : it->reason;
}

class FloatProducts : public testing::Test {
 protected:
  FloatProducts() { options_.threads = 1; }
  void SetUp() override {
    auto plan = compile_mixture(options_, report_);
    ASSERT_TRUE(plan.has_value()) << plan.error().message;
    for (const PlanStep& step : plan->graph.steps) {
      const auto read = static_cast<size_t>(step.inputs[0]);
      if (step.op == "Conv") quantization_->activations[plan->graph.values[read].name] = {0.02F, 128, DType::kUInt8};
    }
  }
  // What is in floats whatever is known and measured.
  static void expect_reasons_of_kinds(const std::vector<FloatProduct>& products) {
    EXPECT_EQ(reason_for(products, "ConvTranspose"), "there is no INT8 form of ConvTranspose");
    EXPECT_EQ(reason_for(products, "LSTM"), "there is no INT8 form of LSTM");
    EXPECT_NE(reason_for(products, "MatMul").find("its right operand is computed"), std::string::npos);
  }
  CompileOptions options_;
  CompileReport report_;
  std::shared_ptr<Quantization> quantization_ = std::make_shared<Quantization>();
};

TEST_F(FloatProducts, AreAbsentWhereInt8IsNotAllowed) {
  auto plan = compile_mixture(options_, report_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_TRUE(report_.int8.in_floats.empty());
}

TEST_F(FloatProducts, SayWhyTheyHaveNoInt8Form) {
  options_.quantization = quantization_;
  auto plan = compile_mixture(options_, report_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_EQ(report_.int8.in_floats.size(), 3U);
  EXPECT_EQ(reason_for(report_.int8.in_floats, "Conv"), "absent");
  expect_reasons_of_kinds(report_.int8.in_floats);
}

TEST_F(FloatProducts, SayWhatIsUnknownAndWhatWasAskedFor) {
  options_.quantization = std::make_shared<const Quantization>();
  ASSERT_TRUE(compile_mixture(options_, report_).has_value());
  EXPECT_EQ(reason_for(report_.int8.in_floats, "Conv"), "nothing is known of the range of its input");
  quantization_->float_nodes["Conv_node"] = quantization_->float_nodes["LSTM_node"] = "asked for";
  options_.quantization = quantization_;
  ASSERT_TRUE(compile_mixture(options_, report_).has_value());
  EXPECT_EQ(reason_for(report_.int8.in_floats, "Conv"), "asked for");
  EXPECT_EQ(reason_for(report_.int8.in_floats, "LSTM"), "asked for");
}

// Whichever of the three plans is the fastest.
TEST_F(FloatProducts, KeepTheirReasonsWherePlansAreMeasured) {
  options_.quantization = quantization_;
  options_.tune_seconds = 0.3;
  auto plan = compile_mixture(options_, report_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  ASSERT_FALSE(report_.int8.choices.empty());
  expect_reasons_of_kinds(report_.int8.in_floats);
  const std::string reason = reason_for(report_.int8.in_floats, "Conv");
  EXPECT_TRUE(reason == "absent" || reason.find(" us") != std::string::npos) << reason;
}

TEST_F(FloatProducts, OfAPlanAreExplainedByTheNodesTheyStandFor) {
  auto plan = compile_mixture(options_, report_);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  for (const FloatProduct& product : float_products(plan->graph)) EXPECT_EQ(product.reason, "") << product.name;
  explain_float_products(plan->graph, {{"LSTM_node", "it is too slow"}, {"Reshape_node", "it is no product"}});
  const std::vector<FloatProduct> products = float_products(plan->graph);
  EXPECT_EQ(products.size(), 4U);
  EXPECT_EQ(reason_for(products, "LSTM"), "it is too slow");
  EXPECT_EQ(reason_for(products, "Conv"), "");
}

}  // namespace
}  // namespace hussar
