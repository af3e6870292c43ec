// Signal and noise, and the order of layers and products, by numbers worked out by hand.
#include "compile/layer_errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compile/sensitivity.h"

namespace hussar {
namespace {

Tensor floats(std::initializer_list<float> values) {
  return Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(values.size())},
                             std::span<const float>(values.begin(), values.size()));
}

TEST(Noise, IsTheRatioOfPowers) {
  Noise noise;
  noise.add(floats({3, 4}), floats({3, 5}));
  EXPECT_DOUBLE_EQ(noise.signal, 25);
  EXPECT_DOUBLE_EQ(noise.noise, 1);
  EXPECT_NEAR(noise.sqnr_db(), 13.9794, 1e-4);
  // A second tensor adds to both: 10 log10(125 / 5).
  noise.add(floats({10}), floats({8}));
  EXPECT_NEAR(noise.sqnr_db(), 13.9794, 1e-4);
  noise.add(floats({0, 0}), floats({0, 0}));
  EXPECT_NEAR(noise.sqnr_db(), 13.9794, 1e-4);
}

TEST(Noise, OfEqualTensorsIsNone) {
  Noise noise;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  noise.add(floats({1, nan, infinity}), floats({1, nan, infinity}));
  EXPECT_EQ(noise.sqnr_db(), std::numeric_limits<double>::infinity());
  noise.add(floats({1}), floats({nan}));
  EXPECT_EQ(noise.sqnr_db(), -std::numeric_limits<double>::infinity());
}

TEST(RankLayers, WorstFirstAndUnknownLast) {
  auto layer = [](const char* node, std::optional<double> own, std::optional<double> out) {
    return LayerError{node, "", "", "", {}, out, own};
  };
  std::vector<LayerError> layers = {layer("exact", std::numeric_limits<double>::infinity(), 20),
                                    layer("unknown", {}, {}),
                                    layer("reads noise", 60, 12),
                                    layer("bad", 14, 13),
                                    layer("no own", {}, 5),
                                    layer("as bad, later", 60, 11)};
  rank_layers(layers);
  std::vector<std::string> order;
  for (const LayerError& entry : layers) order.push_back(entry.node);
  EXPECT_EQ(order, (std::vector<std::string>{"bad", "as bad, later", "reads noise", "exact", "no own", "unknown"}));
}

ProductSensitivity product(const char* node, double noise, std::optional<double> float_ms = {},
                           std::optional<double> int8_ms = {}) {
  return {node, {1000, noise}, {}, {}, {}, float_ms, int8_ms};
}

std::vector<std::string> ranked(std::vector<ProductSensitivity> products) {
  rank_products(products);
  std::vector<std::string> order;
  for (const ProductSensitivity& entry : products) order.push_back(entry.node);
  return order;
}

TEST(RankProducts, ByHarmPerMillisecond) {
  // Harm 0.01, 0.002 and 0.004; without times that is the order.
  EXPECT_EQ(ranked({product("a", 10), product("b", 2), product("c", 4)}), (std::vector<std::string>{"a", "c", "b"}));
  // 0.01 / 10 = 0.001, 0.002 / 1 = 0.002, and what gains nothing counts as 0.1 ms: 0.004 / 0.1 = 0.04.
  EXPECT_EQ(ranked({product("a", 10, 12, 2), product("b", 2, 3, 2), product("c", 4, 1, 1.5)}),
            (std::vector<std::string>{"c", "b", "a"}));
  // Where nothing gains, harm alone decides.
  EXPECT_EQ(ranked({product("a", 1, 1, 2), product("b", 2, 1, 9)}), (std::vector<std::string>{"b", "a"}));
}

TEST(ChooseAdvice, KeepsTheFirstUntilTheRestIsEnough) {
  // Harm 0.01, 0.004 and 0.002: 0.016 together, 0.006 without the first, 0.002 without the first two.
  const std::vector<ProductSensitivity> products = {product("a", 10), product("b", 4), product("c", 2)};
  EXPECT_EQ(choose_advice(products, 0.016, 0.017), 0U);
  EXPECT_EQ(choose_advice(products, 0.016, 0.007), 1U);
  EXPECT_EQ(choose_advice(products, 0.016, 0.003), 2U);
  EXPECT_EQ(choose_advice(products, 0.016, 0.001), 3U);
  // All at once they are twice as harmful as their sum.
  EXPECT_EQ(choose_advice(products, 0.032, 0.007), 2U);
  EXPECT_EQ(choose_advice({}, 0, 0), 0U);
}

TEST(FirstNode, IsWhatPrecisionTakes) {
  EXPECT_EQ(first_node("conv+relu"), "conv");
  EXPECT_EQ(first_node("conv"), "conv");
}

}  // namespace
}  // namespace hussar
