// Embeddings, their sum, its order and its normalization as one step.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dims kIds = {Dim::symbol("batch"), Dim::symbol("length")};
constexpr int64_t kWidth = 8;

// Indices of two batches of three.
std::vector<Tensor> outputs_of(const Graph& graph) {
  std::vector<Tensor> inputs;
  int64_t next = 0;
  for (const Value* input : graph.inputs) {
    Shape shape;
    for (const Dim& dim : *input->dims)
      shape.push_back(dim.is_constant() ? dim.value() : dim == kIds[0] ? 2 : dim == kIds[1] ? 3 : 6);
    Tensor tensor(input->dtype, shape);
    std::vector<double> values(static_cast<size_t>(shape.elements()));
    for (double& value : values) value = static_cast<double>(next++ % 5);
    store_elements<double>(tensor, 0, tensor.elements(), values.data());
    inputs.push_back(std::move(tensor));
  }
  auto outputs = evaluate_graph(graph, inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  return outputs ? *outputs : std::vector<Tensor>();
}

void expect_same(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].shape(), expected[i].shape());
    ASSERT_EQ(actual[i].dtype(), expected[i].dtype());
    EXPECT_EQ(std::memcmp(actual[i].raw(), expected[i].raw(), actual[i].bytes()), 0) << "output " << i;
  }
}

// One step on a GPU, the same values, and what it was made of when a plan is built again.
void expect_fuses(GraphCase& test, const std::vector<const char*>& parts) {
  const std::vector<Tensor> expected = outputs_of(test.graph);
  std::vector<int> counts;
  for (const char* part : parts) counts.push_back(test.count(part));
  EXPECT_EQ(run_pass(test.graph, "fuse_embedding_norm", Target{}), 0);
  EXPECT_EQ(run_pass(test.graph, "fuse_embedding_norm", hopper()), 1);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
  EXPECT_EQ(test.count("hussar.EmbeddingNorm"), 1);
  expect_same(outputs_of(test.graph), expected);
  EXPECT_EQ(run_pass(test.graph, "expand_composites", Target{}), 1);
  for (size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(test.count(parts[i]), counts[i]) << parts[i];
  expect_same(outputs_of(test.graph), expected);
}

Value* sum(GraphCase& test, bool with_bytes = false) {
  Value* words = with_bytes
                     ? test.make("hussar.GatherBytes",
                                 {test.constant({5, kWidth}, std::vector<double>(5 * kWidth, 131), DType::kUInt8),
                                  test.weights({5}), test.input(kIds, DType::kInt64)})
                     : test.make("Gather", {test.weights({5, kWidth}), test.input(kIds, DType::kInt64)});
  Value* types = test.make("Gather", {test.weights({5, kWidth}), test.input({1, kIds[1]}, DType::kInt32)});
  return test.make("Add", {test.make("Add", {words, types}), test.weights({1, 1, kWidth})});
}

std::vector<Value*> scale_and_bias(GraphCase& test, Value* x) {
  return {x, test.weights({kWidth}), test.weights({kWidth})};
}

TEST(PassFuseEmbeddingNorm, LayerNormalization) {
  for (const bool with_bytes : {false, true}) {
    GraphCase test;
    test.output(
        test.make("LayerNormalization", scale_and_bias(test, sum(test, with_bytes)), with({{"epsilon", 0.1F}})));
    expect_fuses(test, {"Gather", "hussar.GatherBytes", "Add", "LayerNormalization"});
  }
}

TEST(PassFuseEmbeddingNorm, BytesAndNumbers) {
  GraphCase test;
  const Attributes meaning = with({{"y_scale", 0.02F}, {"y_zero_point", int64_t{120}}, {"center", int64_t{1}}});
  for (Value* value : test.make_many("hussar.NormToBytes", scale_and_bias(test, sum(test)), 2, meaning))
    test.output(value);
  expect_fuses(test, {"Gather", "Add", "hussar.NormToBytes"});
}

TEST(PassFuseEmbeddingNorm, RowsOfBytesInAnotherOrder) {
  GraphCase test;
  Value* order = test.input({kIds[0] * kIds[1]}, DType::kInt32);
  Value* rows = test.make("hussar.GatherRows", {sum(test), order});
  for (Value* value : test.make_many("hussar.NormToRows", scale_and_bias(test, rows), 3)) test.output(value);
  expect_fuses(test, {"Gather", "Add", "hussar.GatherRows", "hussar.NormToRows"});
}

// As fuse_pointwise leaves it.
TEST(PassFuseEmbeddingNorm, FusedSums) {
  GraphCase test;
  test.output(test.make("LayerNormalization", scale_and_bias(test, sum(test))));
  const std::vector<Tensor> expected = outputs_of(test.graph);
  EXPECT_GE(run_pass(test.graph, "fuse_pointwise", hopper()), 1);
  EXPECT_EQ(test.count("hussar.Pointwise"), 1);
  EXPECT_EQ(run_pass(test.graph, "fuse_embedding_norm", hopper()), 1);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
  expect_same(outputs_of(test.graph), expected);
}

int rewrites(const std::function<void(GraphCase&)>& build) {
  GraphCase test;
  build(test);
  return run_pass(test.graph, "fuse_embedding_norm", hopper());
}

TEST(PassFuseEmbeddingNorm, WhatStays) {
  // Somebody else reads the sum.
  EXPECT_EQ(rewrites([](GraphCase& test) {
              Value* x = sum(test);
              test.output(test.make("LayerNormalization", scale_and_bias(test, x)));
              test.output(x);
            }),
            0);
  // It is no sum.
  EXPECT_EQ(rewrites([](GraphCase& test) {
              Value* x = test.make("Mul", {sum(test), test.number(2)});
              test.output(test.make("LayerNormalization", scale_and_bias(test, x)));
            }),
            0);
  // Nothing is looked up.
  EXPECT_EQ(rewrites([](GraphCase& test) {
              Value* x = test.make("Add", {test.input({kIds[0], kIds[1], kWidth}), test.weights({kWidth})});
              test.output(test.make("LayerNormalization", scale_and_bias(test, x)));
            }),
            0);
  // More than rows are normalized.
  EXPECT_EQ(
      rewrites([](GraphCase& test) {
        Value* x = test.make("Gather", {test.weights({5, kWidth}), test.input({2, 3}, DType::kInt64)});
        test.output(test.make("LayerNormalization", {x, test.weights({3, kWidth})}, with({{"axis", int64_t{1}}})));
      }),
      0);
  // Columns are looked up.
  EXPECT_EQ(rewrites([](GraphCase& test) {
              Value* x = test.make("Gather", {test.weights({3, 5}), test.input({kWidth}, DType::kInt64)},
                                   with({{"axis", int64_t{1}}}));
              test.output(test.make("LayerNormalization", scale_and_bias(test, x)));
            }),
            0);
}

}  // namespace
}  // namespace hussar
