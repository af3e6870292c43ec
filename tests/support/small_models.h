// Small models for tests of plans and sessions, as ONNX bytes.
#pragma once
#include "tests/support/onnx_writer.h"

namespace hussar::tests {

// x[2,3] -> Relu(x) + w -> Softmax -> y[2,3]
inline Message dense_model() {
  std::vector<float> weights = {0.5F, -0.25F, 1.0F};
  return model(graph({{node("Relu", {"x"}, {"a"}), node("Add", {"a", "w"}, {"b"}), node("Softmax", {"b"}, {"y"})},
                      {value("x", {2, 3})},
                      {value("y", {2, 3})},
                      {tensor_of("w", DType::kFloat32, {3}, weights)}}));
}

// x[N,3,H,W] -> Conv 3x3 -> Relu -> Conv 1x1 + x -> MaxPool -> y: symbolic shapes, packed weights, a residual.
inline Message conv_model() {
  auto ramp = [](size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = 0.02F * static_cast<float>(static_cast<int>(i % 23) - 11);
    return values;
  };
  std::vector<int64_t> ones = {1, 1, 1, 1};
  return model(
      graph({{node("Conv", {"x", "w1", "b1"}, {"a"}, {attribute("pads", ones)}), node("Relu", {"a"}, {"b"}),
              node("Conv", {"b", "w2"}, {"c"}), node("Add", {"c", "x"}, {"d"}),
              node("MaxPool", {"d"}, {"y"}, {attribute("kernel_shape", std::vector<int64_t>{2, 2})})},
             {value("x", {"N", 3, "H", "W"})},
             {any_shape("y")},
             {tensor_of("w1", DType::kFloat32, {8, 3, 3, 3}, ramp(216)), tensor_of("b1", DType::kFloat32, {8}, ramp(8)),
              tensor_of("w2", DType::kFloat32, {3, 8, 1, 1}, ramp(24))}}));
}

// Control flow and a shape that depends on data: y = If(c) {x + 1} else {x * x}; z = NonZero(y)
inline Message control_model() {
  std::vector<float> one = {1.0F};
  Message then_branch = graph({{node("Add", {"x", "one"}, {"t"})}, {}, {any_shape("t")}, {}});
  Message else_branch = graph({{node("Mul", {"x", "x"}, {"e"})}, {}, {any_shape("e")}, {}});
  return model(graph({{node("If", {"c"}, {"y"},
                            {graph_attribute("then_branch", then_branch), graph_attribute("else_branch", else_branch)}),
                       node("NonZero", {"y"}, {"z"})},
                      {value("x", {"N"}), value("c", {}, DType::kBool)},
                      {any_shape("y"), any_shape("z", DType::kInt64)},
                      {tensor_of("one", DType::kFloat32, {1}, one)}}));
}

}  // namespace hussar::tests
