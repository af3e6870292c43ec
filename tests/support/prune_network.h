// A network with every kind of product that can be pruned, with random weights.
#pragma once
#include <cmath>
#include <random>

#include "tests/support/onnx_writer.h"

namespace hussar::tests {

inline std::vector<float> normal(size_t count, uint32_t seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> numbers(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = numbers(random);
  return values;
}

inline Message weights(const char* name, const std::vector<int64_t>& dims, uint32_t seed) {
  int64_t count = 1;
  for (int64_t dim : dims) count *= dim;
  const float deviation = 1 / std::sqrt(static_cast<float>(count) / static_cast<float>(dims[0]));
  return tensor_of(name, DType::kFloat32, dims, normal(static_cast<size_t>(count), seed, deviation));
}

inline std::vector<Message> pads() { return {attribute("pads", std::vector<int64_t>{1, 1, 1, 1})}; }

inline Message named(const char* name, const char* op, const Names& inputs, const Names& outputs,
                     const std::vector<Message>& attributes = {}) {
  Message node;
  for (const std::string& input : inputs) node.text(1, input);
  for (const std::string& output : outputs) node.text(2, output);
  node.text(3, name).text(4, op);
  for (const Message& attribute : attributes) node.message(5, attribute);
  return node;
}

// Convolutions with and without a bias and a shortcut, a Gemm, and a product with its bias in an Add.
inline Message network() {
  return model(graph(
      {{named("stem", "Conv", {"x", "w1"}, {"a"}, pads()), named("r1", "Relu", {"a"}, {"a2"}),
        named("wide", "Conv", {"a2", "w2", "b2"}, {"b"}, pads()), named("r2", "Relu", {"b"}, {"b2r"}),
        named("point", "Conv", {"b2r", "w3"}, {"c"}), named("sum", "Add", {"c", "a2"}, {"d"}),
        named("pool", "GlobalAveragePool", {"d"}, {"e"}), named("flat", "Flatten", {"e"}, {"f"}),
        named("gemm", "Gemm", {"f", "w4", "b4"}, {"g"}, {attribute("transB", 1)}), named("r3", "Relu", {"g"}, {"g2"}),
        named("product", "MatMul", {"g2", "w5"}, {"h"}), named("bias", "Add", {"b5", "h"}, {"i"}),
        named("r4", "Relu", {"i"}, {"i2"}), named("head", "MatMul", {"i2", "w6"}, {"y"})},
       {value("x", {"N", 4, 6, 6})},
       {any_shape("y")},
       {weights("w1", {64, 4, 3, 3}, 1), weights("w2", {64, 64, 3, 3}, 2),
        tensor_of("b2", DType::kFloat32, {64}, normal(64, 3)), weights("w3", {64, 64, 1, 1}, 4),
        weights("w4", {128, 64}, 5), tensor_of("b4", DType::kFloat32, {128}, normal(128, 6)),
        weights("w5", {128, 64}, 7), tensor_of("b5", DType::kFloat32, {64}, normal(64, 8)),
        weights("w6", {64, 10}, 9)}}));
}

}  // namespace hussar::tests
