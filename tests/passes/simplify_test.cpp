// Passes that drop or move what costs nothing to drop: neutral arithmetic, reshapes, expansions, padding, repetition.
#include <limits>

#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");

TEST(PassDropNeutral, OnesAndZeros) {
  GraphCase test;
  Value* x = test.input({kBatch, 4});
  Value* y = test.make("Mul", {x, test.number(1)});
  y = test.make("Add", {test.constant({1, 4}, {0, 0, 0, 0}), y});
  y = test.make("Div", {y, test.constant({1}, {1})});
  test.output(test.make("Relu", {test.make("Sub", {y, test.number(0)})}));
  EXPECT_EQ(test.run("drop_neutral"), 4);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

TEST(PassDropNeutral, KeepsWhatEnlargesAndWhatIsNotNeutral) {
  GraphCase test;
  Value* x = test.input({1, 4});
  test.output(test.make("Mul", {x, test.constant({2, 1}, {1, 1})}));
  test.output(test.make("Sub", {test.number(0), x}));
  test.output(test.make("Div", {test.number(1), x}));
  EXPECT_EQ(test.run("drop_neutral"), 0);
}

TEST(PassSimplifyReshape, ComputedShapesBecomeConstant) {
  GraphCase test;
  Value* x = test.input({kBatch, kLength, 12});
  Value* shape = test.make("Shape", {x}, with({{"end", int64_t{2}}}));
  Value* target = test.make("Concat", {shape, test.integers({3, 4})}, with({{"axis", int64_t{0}}}));
  test.output(test.make("Relu", {test.make("Reshape", {x, target})}));
  EXPECT_EQ(test.run("simplify_reshape"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassSimplifyReshape, ChainsBecomeOneOrNone) {
  GraphCase test;
  Value* x = test.input({kBatch, 6, 1});
  Value* y = test.make("Squeeze", {x, test.integers({2})});
  y = test.make("Unsqueeze", {test.reshape(y, {-1, 2, 3}), test.integers({1})});
  test.output(test.make("Relu", {y}));
  test.output(test.make("Relu", {test.reshape(test.reshape(x, {0, -1}), {-1, 6, 1})}));
  EXPECT_GE(test.run("simplify_reshape"), 3);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

TEST(PassDropExpand, BeforeAnOperandOfTheSameShape) {
  GraphCase test;
  Value* x = test.input({kBatch, kLength, 8});
  Value* y = test.input({1, kLength, 1});
  Value* expanded = test.make("Expand", {y, test.make("Shape", {x})});
  test.output(test.make("Add", {x, expanded}));
  EXPECT_EQ(test.run("drop_expand"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

TEST(PassDropExpand, MovesBehindScalarWork) {
  GraphCase test;
  Value* x = test.input({kBatch, 4, kLength, kLength});
  Value* mask = test.input({kBatch, 1, 1, kLength}, DType::kBool);
  Value* expanded = test.make("Expand", {mask, test.make("Shape", {x})});
  Value* added = test.make("Where", {expanded, test.number(0), test.number(-100)});
  test.output(test.make("Add", {x, added}));
  EXPECT_EQ(test.run("drop_expand"), 2);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassDropExpand, KeepsOneThatGivesTheShape) {
  GraphCase test;
  Value* x = test.input({1, 8});
  Value* y = test.input({1, 8});
  test.output(test.make("Add", {x, test.make("Expand", {y, test.integers({3, 8})})}));
  EXPECT_EQ(test.run("drop_expand"), 0);
}

TEST(PassCommonSubexpressions, NodesAndConstants) {
  GraphCase test;
  Value* x = test.input({kBatch, 4});
  Value* a = test.make("Exp", {test.make("Mul", {x, test.constant({4}, {1, 2, 3, 4})})});
  Value* b = test.make("Exp", {test.make("Mul", {x, test.constant({4}, {1, 2, 3, 4})})});
  test.output(test.make("Add", {a, b}));
  EXPECT_EQ(test.run("common_subexpressions"), 3);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

TEST(PassCommonSubexpressions, KeepsWhatDiffersAndOutputs) {
  GraphCase test;
  Value* x = test.input({kBatch, 4});
  test.output(test.make("Softmax", {x}, with({{"axis", int64_t{0}}})));
  test.output(test.make("Softmax", {x}, with({{"axis", int64_t{1}}})));
  test.output(test.make("LeakyRelu", {x}, with({{"alpha", 0.1F}})));
  test.output(test.make("LeakyRelu", {x}, with({{"alpha", 0.1000001F}})));
  test.output(test.make("Exp", {x}));
  test.output(test.make("Exp", {x}));
  EXPECT_EQ(test.run("common_subexpressions"), 0);
}

Value* pad(GraphCase& test, Value* x, const Ints& pads, double value = 0) {
  return test.make("Pad", {x, test.integers(pads), test.number(value)});
}

TEST(PassFoldPad, Convolution) {
  GraphCase test;
  Value* x = test.input({1, 2, 5, 6});
  Value* padded = pad(test, x, {0, 0, 0, 1, 0, 0, 1, 2});
  test.output(test.make("Conv", {padded, test.weights({3, 2, 3, 3})}, with({{"pads", Ints{1, 0, 1, 0}}})));
  test.output(test.make("Conv", {padded, test.weights({3, 2, 3, 3})}, with({{"auto_pad", std::string("VALID")}})));
  EXPECT_EQ(test.run("fold_pad"), 2);
  EXPECT_EQ(test.count("Pad"), 0);
}

TEST(PassFoldPad, AxesAndPools) {
  GraphCase test;
  Value* x = test.make("Relu", {test.input({1, 2, 5, 6})});
  Value* y = test.make("Pad", {x, test.integers({1, 1, 1, 1}), nullptr, test.integers({2, -1})});
  Attributes pool = with({{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}});
  test.output(test.make("MaxPool", {y}, pool));
  test.output(test.make("AveragePool", {y}, pool));
  Value* lowest =
      pad(test, test.input({1, 2, 5, 6}), {0, 0, 1, 1, 0, 0, 1, 1}, -std::numeric_limits<double>::infinity());
  test.output(test.make("MaxPool", {lowest}, pool));
  EXPECT_EQ(test.run("fold_pad"), 3);
  EXPECT_EQ(test.count("Pad"), 0);
}

TEST(PassFoldPad, Refuses) {
  GraphCase test;
  Value* x = test.input({1, 2, 5, 6});
  Attributes pool = with({{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}});
  test.output(test.make("MaxPool", {pad(test, x, {0, 0, 1, 1, 0, 0, 1, 1})}, pool));      // zeros win over negatives
  test.output(test.make("AveragePool", {pad(test, x, {0, 0, 1, 1, 0, 0, 1, 1})}, pool));  // only some padding counts
  Value* w = test.weights({3, 2, 3, 3});
  test.output(test.make("Conv", {pad(test, x, {0, 0, 1, 1, 0, 0, 1, 1}, 2), w}));
  test.output(test.make("Conv", {pad(test, x, {0, 1, 1, 1, 0, 0, 1, 1}), test.weights({3, 3, 3, 3})}));
  test.output(test.make("Conv", {pad(test, x, {0, 0, -1, 0, 0, 0, 0, 0}), w}));
  test.output(test.make(
      "Conv",
      {test.make("Pad", {x, test.integers({0, 0, 1, 1, 0, 0, 1, 1})}, with({{"mode", std::string("reflect")}})), w}));
  EXPECT_EQ(test.run("fold_pad"), 0);
}

TEST(PassRecogniseGlobalPool, MeanAndMaximum) {
  GraphCase test;
  Value* x = test.input({2, 3, 4, 5});
  test.output(test.make("ReduceMean", {x, test.integers({-1, -2})}));
  test.output(test.make("ReduceMax", {x, test.integers({2, 3})}, with({{"keepdims", int64_t{0}}})));
  test.output(test.make("ReduceMean", {x, test.integers({1, 2})}));
  EXPECT_EQ(test.run("recognise_global_pool"), 2);
  EXPECT_EQ(test.count("GlobalAveragePool"), 1);
  EXPECT_EQ(test.count("GlobalMaxPool"), 1);
}

}  // namespace
}  // namespace hussar
