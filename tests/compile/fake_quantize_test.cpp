// Products that compute with rounded numbers in FP32 give what INT8 gives, and a part of it where only a part is
// rounded.
#include "compile/fake_quantize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compile/layer_errors.h"
#include "compile/optimize.h"
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

// A convolution, a depthwise one, and a product whose weights are transposed; x and what lies between are read by one
// more step each.
Message network() {
  const std::vector<int64_t> pads = {1, 1, 1, 1};
  return model(
      graph({{node("Conv", {"x", "w0"}, {"a"}, {attribute("pads", pads)}), node("Relu", {"a"}, {"b"}),
              node("Conv", {"b", "w1"}, {"c"}, {attribute("group", int64_t{16}), attribute("pads", pads)}),
              node("Add", {"b", "c"}, {"d"}), node("GlobalAveragePool", {"d"}, {"e"}), node("Flatten", {"e"}, {"f"}),
              node("Gemm", {"f", "w2", "b2"}, {"y"}, {attribute("transB", int64_t{1})})},
             {value("x", {1, 3, 12, 12})},
             {any_shape("y")},
             {tensor_of("w0", DType::kFloat32, {16, 3, 3, 3}, numbers(432, 0.4F)),
              tensor_of("w1", DType::kFloat32, {16, 1, 3, 3}, numbers(144, 0.5F)),
              tensor_of("w2", DType::kFloat32, {10, 16}, numbers(160, 0.5F)),
              tensor_of("b2", DType::kFloat32, {10}, numbers(10, 0.1F))}}));
}

class FakeQuantize : public testing::Test {
 protected:
  void SetUp() override {
    options_.threads = 1;
    options_.disabled_passes = {"fuse_inverted_residual", "quantize_attention", "store_bytes", "slice_channels"};
    in_float_ = optimized();
    for (const auto& value : in_float_.values()) quantization_.activations[value->name] = {0.02F, 100, DType::kUInt8};
    options_.quantization = std::make_shared<const Quantization>(quantization_);
    in_int8_ = optimized();
    products_ = quantized_products(in_float_, in_int8_);
  }

  Graph optimized() const {
    auto imported = onnx::import_bytes(network().bytes(), nullptr, "");
    auto graph = optimize_graph(std::move(imported->graph), options_);
    EXPECT_TRUE(graph.has_value()) << graph.error().message;
    return std::move(*graph);
  }

  Tensor run(Graph graph) const {
    auto plan = freeze_graph(std::move(graph), options_);
    EXPECT_TRUE(plan.has_value()) << plan.error().message;
    auto shared = std::make_shared<const Plan>(std::move(*plan));
    auto session = Session::create(shared);
    auto outputs = (*session)->run_in_order(*random_inputs(input_facts(shared->graph), {}, 1));
    EXPECT_TRUE(outputs.has_value()) << outputs.error().message;
    return (*outputs)[0].clone();
  }

  double sqnr(const Tensor& other) const {
    Noise noise;
    noise.add(run(in_float_.clone()), other);
    return noise.sqnr_db();
  }

  CompileOptions options_;
  Quantization quantization_;
  Graph in_float_, in_int8_;
  std::vector<QuantizedProduct> products_;
};

TEST_F(FakeQuantize, AgreesWithInt8) {
  ASSERT_EQ(products_.size(), 3U);
  Graph graph = in_float_.clone();
  for (const QuantizedProduct& product : products_) {
    ASSERT_TRUE(fake_quantize(graph, product, QuantizedPart::kBoth).has_value());
  }
  const Tensor rounded = run(std::move(graph));
  Noise noise;
  noise.add(run(in_int8_.clone()), rounded);
  EXPECT_LT(sqnr(rounded), 50);
  EXPECT_GT(noise.sqnr_db(), sqnr(rounded) + 20);
}

TEST_F(FakeQuantize, RoundsOnePartOfOneProduct) {
  for (const QuantizedProduct& product : products_) {
    double figures[3];
    const QuantizedPart parts[] = {QuantizedPart::kBoth, QuantizedPart::kWeights, QuantizedPart::kActivations};
    for (int i = 0; i < 3; ++i) {
      Graph graph = in_float_.clone();
      ASSERT_TRUE(fake_quantize(graph, product, parts[i]).has_value());
      figures[i] = sqnr(run(std::move(graph)));
      EXPECT_GT(figures[i], 10) << product.node;
      EXPECT_LT(figures[i], 100) << product.node;
    }
    // The noise of both is about the sum of the two.
    const double sum = std::pow(10, -figures[1] / 10) + std::pow(10, -figures[2] / 10);
    EXPECT_NEAR(figures[0], -10 * std::log10(sum), 4) << product.node;
  }
}

TEST_F(FakeQuantize, LeavesTheOriginalAlone) {
  Graph graph = in_float_.clone();
  ASSERT_TRUE(fake_quantize(graph, products_[0], QuantizedPart::kBoth).has_value());
  EXPECT_TRUE(std::isinf(sqnr(run(in_float_.clone()))));
  QuantizedProduct unknown = products_[0];
  unknown.output = "nobody";
  EXPECT_FALSE(fake_quantize(graph, unknown, QuantizedPart::kBoth).has_value());
}

}  // namespace
}  // namespace hussar
