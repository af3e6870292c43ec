// hussar.QuantizedMatMul and hussar.QuantizedConv of float8e4m3fn: values, saturation, and what they refuse.
#include <gtest/gtest.h>

#include <cmath>

#include "graph/graph.h"
#include "ops/evaluate.h"
#include "tensor/convert.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

Tensor fp8(const Shape& shape, const std::vector<float>& values) {
  return converted(Tensor::from<float>(DType::kFloat32, shape, values), kFp8);
}

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::from<float>(DType::kFloat32, shape, values);
}

struct Product {
  std::string op = "hussar.QuantizedMatMul";
  std::vector<Tensor> inputs;
  Attributes attributes;

  Result<std::vector<Tensor>> evaluate() const {
    Graph graph;
    std::vector<Value*> values;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Shape& shape = inputs[i].shape();
      values.push_back(graph.add_value("x" + std::to_string(i), inputs[i].dtype(), Dims(shape.begin(), shape.end())));
    }
    return evaluate_node(*graph.add_node(op, "product", values, {graph.add_value("y")}, attributes), inputs);
  }
};

// 448 * 448 and -448 * 448 cancel out, and what is left is 2^-18: sums are exact.
Product exact() {
  return {"hussar.QuantizedMatMul",
          {fp8({2, 3}, {448, 448, 0.001953125F, 1, -2, 0}), fp8({3, 2}, {448, 1, -448, 2, 0.001953125F, 4}),
           floats({2}, {2, 0.5F}), floats({2}, {0, 1})},
          {}};
}

TEST(QuantizedFp8, SumsAreExact) {
  Product product = exact();
  product.attributes.set("x_scale", 4.0F);
  auto y = product.evaluate();
  ASSERT_TRUE(y) << y.error().message;
  ASSERT_EQ((*y)[0].dtype(), DType::kFloat32);
  const auto* values = (*y)[0].data<float>();
  EXPECT_EQ(values[0], std::exp2(-18.0F) * 8);
  EXPECT_EQ(values[1], (448 + 896 + 0.0078125F) * 2 + 1);
  EXPECT_EQ(values[2], (448 + 896) * 8.0F);
  EXPECT_EQ(values[3], (1 - 4) * 2.0F + 1);
}

TEST(QuantizedFp8, ResultsInFp8SaturateAndRound) {
  Product product = exact();
  product.attributes.set("y_scale", 2.0F);
  product.attributes.set("y_type", static_cast<int64_t>(kFp8));
  auto y = product.evaluate();
  ASSERT_TRUE(y) << y.error().message;
  ASSERT_EQ((*y)[0].dtype(), kFp8);
  const std::vector<double> values = to_doubles((*y)[0]);
  EXPECT_EQ(values[0], 0);      // 2^-18, less than half of the least number
  EXPECT_EQ(values[1], 352);    // 336.5, of steps of 32
  EXPECT_EQ(values[2], 448);    // 1344
  EXPECT_EQ(values[3], -0.25);  // (-1.5 + 1) / 2
}

TEST(QuantizedFp8, NanStaysNan) {
  Product product = exact();
  product.inputs[3] = floats({2}, {NAN, 0});
  product.attributes.set("y_scale", 2.0F);
  product.attributes.set("y_type", static_cast<int64_t>(kFp8));
  auto y = product.evaluate();
  ASSERT_TRUE(y);
  EXPECT_TRUE(std::isnan(to_doubles((*y)[0])[0]));
}

TEST(QuantizedFp8, Convolution) {
  Product product{"hussar.QuantizedConv",
                  {fp8({1, 1, 1, 3}, {1, 0.5F, -2}), fp8({1, 1, 1, 2}, {8, 0.25F}), floats({1}, {0.5F})},
                  {}};
  product.attributes.set("pads", Ints{0, 1, 0, 0});
  auto y = product.evaluate();
  ASSERT_TRUE(y) << y.error().message;
  const std::vector<double> expected = {0.125, 4.0625, 1.75};
  EXPECT_EQ(to_doubles((*y)[0]), expected);
}

TEST(QuantizedFp8, Refusals) {
  Product mixed = exact();
  mixed.inputs[1] = Tensor(DType::kInt8, {3, 2});
  auto refused = mixed.evaluate();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("float8e4m3fn"), std::string::npos) << refused.error().message;
  for (const char* name : {"x_zero_point", "y_zero_point"}) {
    Product shifted = exact();
    shifted.attributes.set(name, int64_t{3});
    shifted.attributes.set("y_scale", 1.0F);
    shifted.attributes.set("y_type", static_cast<int64_t>(kFp8));
    refused = shifted.evaluate();
    ASSERT_FALSE(refused) << name;
    EXPECT_NE(refused.error().message.find("zero"), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace hussar
