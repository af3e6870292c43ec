// Activations behind joined products.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

Value* head(GraphCase& test, int64_t size) {
  Value* x = test.input({Dim(2), Dim(3), Dim(size), Dim(size)});
  return test.reshape(test.make("Conv", {x, test.weights({5, 3, 1, 1})}), {2, 5, -1});
}

TEST(PassActivateBeforeJoins, MovesIntoEveryProduct) {
  GraphCase test;
  Value* joined = test.make("Concat", {head(test, 4), head(test, 3), head(test, 2)}, with({{"axis", int64_t{2}}}));
  Value* y = test.make("Sigmoid", {joined});
  test.output(y);
  const std::string name = y->name;
  EXPECT_EQ(test.run("activate_before_joins"), 1);
  EXPECT_EQ(test.count("Sigmoid"), 3);
  ASSERT_EQ(test.graph.outputs[0]->producer->op, "Concat");
  EXPECT_EQ(test.graph.outputs[0]->name, name);
  for (const Value* part : test.graph.outputs[0]->producer->inputs) {
    ASSERT_EQ(part->producer->op, "Reshape");
    EXPECT_EQ(part->producer->inputs[0]->producer->op, "Sigmoid");
  }
}

// Ranges are known by the names of values: what means something else has another name.
TEST(PassActivateBeforeJoins, WhatLiesBetweenHasAnotherName) {
  GraphCase test;
  Value* joined = test.make("Concat", {head(test, 4), head(test, 3)}, with({{"axis", int64_t{2}}}));
  const std::string before = joined->name;
  Value* y = test.make("Tanh", {joined});
  const std::string after = y->name;
  test.output(test.make("Neg", {test.make("Softmax", {y})}));
  EXPECT_EQ(test.run("activate_before_joins"), 1);
  for (const auto& value : test.graph.values()) EXPECT_NE(value->name, before);
  EXPECT_EQ(joined->name, after);
}

TEST(PassActivateBeforeJoins, ThroughATranspose) {
  GraphCase test;
  Value* x = test.input({Dim(4), Dim(6)});
  Value* product = test.make("MatMul", {x, test.weights({6, 8})});
  test.output(test.make("Elu", {test.transpose(product, {1, 0})}, with({{"alpha", 0.5F}})));
  EXPECT_EQ(test.run("activate_before_joins"), 1);
  EXPECT_EQ(test.graph.outputs[0]->producer->op, "Transpose");
}

TEST(PassActivateBeforeJoins, StaysWhereOthersRead) {
  GraphCase test;
  Value* first = head(test, 4);
  Value* joined = test.make("Concat", {first, head(test, 3)}, with({{"axis", int64_t{2}}}));
  test.output(test.make("Sigmoid", {joined}));
  test.output(first);
  EXPECT_EQ(test.run("activate_before_joins"), 0);
}

TEST(PassActivateBeforeJoins, StaysBehindWhatIsNoProduct) {
  GraphCase test;
  Value* joined =
      test.make("Concat", {head(test, 4), test.input({Dim(2), Dim(5), Dim(7)})}, with({{"axis", int64_t{2}}}));
  test.output(test.make("Relu", {joined}));
  EXPECT_EQ(test.run("activate_before_joins"), 0);
  // Nor is there anything to gain without a move.
  GraphCase other;
  Value* x = other.input({Dim(4), Dim(6)});
  other.output(other.make("Relu", {other.make("MatMul", {x, other.weights({6, 8})})}));
  EXPECT_EQ(other.run("activate_before_joins"), 0);
}

}  // namespace
}  // namespace hussar
