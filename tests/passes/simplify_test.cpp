// Passes that drop or move what costs nothing to drop: training, unused outputs, neutral arithmetic, reshapes,
// expansions, padding, repetition.
#include <limits>
#include <memory>

#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");

TEST(PassDropTraining, DropoutAndIdentity) {
  GraphCase test;
  Value* x = test.input({kBatch, 4});
  Value* y = test.make("Dropout", {test.make("Relu", {x}), test.number(0.5)});
  y = test.make("Identity", {test.make("Dropout", {y, test.number(0.5), test.number(0, DType::kBool)})});
  test.output(test.make("Exp", {y}));
  EXPECT_EQ(test.run("drop_training"), 3);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassDropTraining, KeepsMasksAndNames) {
  GraphCase test;
  Value* x = test.input({kBatch, 4});
  std::vector<Value*> both = test.make_many("Dropout", {x}, 2);
  test.output(test.make("Exp", {both[0]}));
  test.output(both[1]);
  test.output(test.make("Identity", {x}));
  EXPECT_EQ(test.run("drop_training"), 0);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

TEST(PassDropNoOps, OneOfEach) {
  GraphCase test;
  Value* x = test.input({2, 4});
  Value* y = test.make("Cast", {test.make("Relu", {x})}, with({{"to", static_cast<int64_t>(DType::kFloat32)}}));
  y = test.make("Expand", {test.transpose(test.reshape(y, {2, 4}), {0, 1}), test.integers({2, 4})});
  y = test.make("Concat", {test.make("Sum", {y})}, with({{"axis", int64_t{1}}}));
  y = test.make("Slice", {test.make("Pad", {y, test.integers({0, 0, 0, 0})}), test.integers({0}), test.integers({4}),
                          test.integers({1})});
  test.output(test.make("Exp", {y}));
  EXPECT_EQ(test.run("drop_no_ops"), 8);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassDropNoOps, KeepsWhatDoesSomething) {
  GraphCase test;
  Value* x = test.input({4, 4});
  test.output(test.transpose(x, {1, 0}));
  test.output(test.make("Cast", {x}, with({{"to", static_cast<int64_t>(DType::kFloat64)}})));
  test.output(
      test.make("Slice", {x, test.integers({3}), test.integers({-5}), test.integers({0}), test.integers({-1})}));
  EXPECT_EQ(test.run("drop_no_ops"), 0);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

// If with Relu in one branch and two operators in the other; the branches read x.
Value* conditional(GraphCase& test, Value* condition, Value* x) {
  Value* y = test.make("If", {condition, x, x}, with({{"then_inputs", int64_t{1}}}));
  for (bool is_then : {true, false}) {
    auto body = std::make_unique<Graph>();
    Value* in = body->add_value("in", DType::kFloat32, *x->dims);
    Value* out = body->add_value("out");
    Value* between = is_then ? in : body->add_value("between");
    if (!is_then) body->add_node("Neg", "neg", {in}, {between});
    body->add_node("Relu", "relu", {between}, {out});
    body->inputs = {in};
    body->outputs = {out};
    y->producer->bodies.push_back({is_then ? "then_branch" : "else_branch", std::move(body)});
  }
  return y;
}

TEST(PassInlineConstantIf, TheTakenBranch) {
  for (bool taken : {false, true}) {
    GraphCase test;
    Value* x = test.input({kBatch, 4});
    test.output(test.make("Exp", {conditional(test, test.number(taken ? 1 : 0, DType::kBool), x)}));
    EXPECT_EQ(test.run("inline_constant_if"), 1);
    EXPECT_EQ(test.count("If"), 0);
    EXPECT_EQ(test.graph.nodes().size(), taken ? 2U : 3U);
  }
}

TEST(PassInlineConstantIf, KeepsComputedConditions) {
  GraphCase test;
  Value* condition = test.input({}, DType::kBool);
  Value* x = test.input({2, 4});
  test.output(conditional(test, condition, x));
  EXPECT_EQ(test.run("inline_constant_if"), 0);
  EXPECT_EQ(test.count("If"), 1);
}

size_t outputs_of(const GraphCase& test, std::string_view op) {
  size_t count = 0;
  for (const auto& node : test.graph.nodes()) {
    for (const Value* output : node->outputs) count += node->op == op && output != nullptr ? 1 : 0;
  }
  return count;
}

TEST(PassDropUnusedOutputs, OptionalOnes) {
  GraphCase test;
  Value* x = test.input({1, 2, 6, 6});
  Attributes pool = with({{"kernel_shape", Ints{2, 2}}});
  test.output(test.make_many("MaxPool", {x}, 2, pool)[0]);
  test.output(test.make_many("LayerNormalization", {x, test.weights({6})}, 3)[2]);
  test.output(test.make_many("Split", {x}, 2, with({{"axis", int64_t{1}}}))[0]);
  test.graph.nodes()[2]->attributes.set("num_outputs", int64_t{2});
  EXPECT_EQ(test.run("drop_unused_outputs"), 2);
  EXPECT_EQ(outputs_of(test, "MaxPool"), 1U);
  EXPECT_EQ(outputs_of(test, "LayerNormalization"), 2U);
  EXPECT_EQ(outputs_of(test, "Split"), 2U);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

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

// The mask of an encoder, which its attention broadcasts by itself.
TEST(PassDropNeutral, LogicalWorkThatOnlyEnlarges) {
  GraphCase test;
  Value* scores = test.input({kBatch, 4, 8, 8});
  Value* mask = test.input({kBatch, 1, 1, 8}, DType::kBool);
  Tensor all(DType::kBool, {1, 1, 8, 1});
  std::fill_n(all.data<bool>(), 8, true);
  Value* both = test.make("And", {test.graph.add_constant("all", all), mask});
  Value* added = test.make("Where", {both, test.number(0), test.number(-100)});
  test.output(test.make("Add", {scores, added}));
  EXPECT_EQ(test.run("drop_neutral"), 1);
  EXPECT_EQ(test.run("drop_expand"), 2);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
  all.data<bool>()[3] = false;
  GraphCase other;
  other.output(other.make("And", {other.graph.add_constant("all", all), other.input({1, 1, 1, 8}, DType::kBool)}));
  EXPECT_EQ(other.run("drop_neutral"), 0);
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
