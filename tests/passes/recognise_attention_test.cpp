// Attention from the operators of several exporters.
#include <limits>

#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

constexpr int64_t kHeads = 3, kSize = 4, kWidth = kHeads * kSize;
const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");

Value* linear(GraphCase& test, Value* x, int64_t width = kWidth) {
  return test.make("Add", {test.make("MatMul", {x, test.weights({kWidth, width})}), test.weights({width})});
}

Value* split_heads(GraphCase& test, Value* x) { return test.reshape(x, {0, 0, kHeads, kSize}); }

Value* join_heads(GraphCase& test, Value* x) { return test.reshape(test.transpose(x, {0, 2, 1, 3}), {0, 0, kWidth}); }

Value* scaled(GraphCase& test, Value* x, double scale) { return test.make("Mul", {x, test.number(scale)}); }

const Attributes& only_attention(const GraphCase& test) {
  static const Attributes none;
  for (const auto& node : test.graph.nodes()) {
    if (node->op == "hussar.Attention") return node->attributes;
  }
  return none;
}

TEST(PassRecogniseAttention, WrittenOut) {
  GraphCase test;
  Value* x = test.input({kBatch, kLength, kWidth});
  Value* mask = test.input({kBatch, 1, 1, kLength});
  Value* q = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
  Value* k = test.transpose(split_heads(test, linear(test, x)), {0, 2, 3, 1});
  Value* v = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
  Value* scores = test.make("Div", {test.make("MatMul", {q, k}), test.number(2)});
  Value* p = test.make("Softmax", {test.make("Add", {scores, mask})}, with({{"axis", int64_t{-1}}}));
  test.output(test.make("Relu", {join_heads(test, test.make("MatMul", {p, v}))}));
  EXPECT_EQ(test.run("recognise_attention"), 3);
  EXPECT_EQ(test.count("hussar.Attention"), 1);
  EXPECT_EQ(test.count("Transpose") + test.count("Reshape") + test.count("Softmax"), 0);
  EXPECT_EQ(only_attention(test).get_int("head_major", -1), 0);
  EXPECT_FLOAT_EQ(only_attention(test).get_float("scale", 0), 0.5F);
  EXPECT_EQ(test.run("merge_qkv"), 1);
  EXPECT_EQ(test.count("MatMul"), 1);
  EXPECT_EQ(test.count("Add"), 1);
}

// scaled_dot_product_attention of torch.onnx: both factors scaled, infinite masks, a guard against rows without keys.
TEST(PassRecogniseAttention, ScaledDotProduct) {
  for (bool is_dynamo : {false, true}) {
    GraphCase test;
    Value* x = test.input({2, 5, kWidth});
    Value* visible = test.input({2, 1, 5, 5}, DType::kBool);
    Value* q = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
    Value* keys = split_heads(test, linear(test, x));
    Value* k = nullptr;
    if (is_dynamo) {
      k = test.reshape(test.transpose(keys, {0, 2, 1, 3}), {-1, 5, kSize});
      k = test.reshape(test.transpose(k, {0, 2, 1}), {2, kHeads, kSize, 5});
    } else {
      k = test.transpose(keys, {0, 2, 3, 1});
    }
    Value* v = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
    Value* scores = test.make("MatMul", {scaled(test, q, 0.7), scaled(test, k, 0.7)});
    Value* mask = test.make("Where", {visible, test.number(0), test.number(-std::numeric_limits<double>::infinity())});
    Value* p = test.make("Softmax", {test.make("Add", {scores, mask})}, with({{"axis", int64_t{-1}}}));
    p = test.make("Where", {test.make("IsNaN", {p}), test.number(0), p});
    test.output(join_heads(test, test.make("MatMul", {p, v})));
    EXPECT_EQ(test.run("recognise_attention"), 3);
    EXPECT_EQ(test.count("Softmax") + test.count("IsNaN") + test.count("Transpose"), 0);
    EXPECT_EQ(only_attention(test).get_int("head_major", -1), 0);
    EXPECT_NEAR(only_attention(test).get_float("scale", 0), 0.49, 1e-6);
  }
}

// timm: one projection, [batch][length][3][heads][size] -> [3][batch][heads][length][size].
TEST(PassRecogniseAttention, FusedProjection) {
  for (int form = 0; form < 3; ++form) {
    GraphCase test;
    Value* x = test.input({2, 5, kWidth});
    Value* all = test.reshape(linear(test, x, 3 * kWidth), {0, 0, 3, kHeads, kSize});
    all = test.transpose(all, {2, 0, 3, 1, 4});
    std::vector<Value*> parts;
    if (form == 0) parts = test.make_many("Split", {all, test.integers({1, 1, 1})}, 3, with({{"axis", int64_t{0}}}));
    for (int64_t i = 0; i < 3; ++i) {
      if (form == 0)
        parts[static_cast<size_t>(i)] = test.make("Squeeze", {parts[static_cast<size_t>(i)], test.integers({0})});
      if (form == 1) parts.push_back(test.make("Gather", {all, test.number(static_cast<double>(i), DType::kInt64)}));
      if (form == 2) {
        Value* slice = test.make(
            "Slice", {all, test.integers({i}), test.integers({i + 1}), test.integers({0}), test.integers({1})});
        parts.push_back(test.make("Squeeze", {slice, test.integers({0})}));
      }
    }
    Value* k = test.transpose(parts[1], {0, 1, 3, 2});
    Value* scores = test.make("MatMul", {scaled(test, parts[0], 0.5), k});
    Value* p = test.make("Softmax", {scores}, with({{"axis", int64_t{-1}}}));
    test.output(join_heads(test, test.make("MatMul", {p, parts[2]})));
    EXPECT_EQ(test.run("recognise_attention"), 3) << form;
    EXPECT_EQ(only_attention(test).get_int("k_offset", -1), kWidth);
    EXPECT_EQ(only_attention(test).get_int("v_offset", -1), 2 * kWidth);
    EXPECT_EQ(test.graph.nodes().size(), 3U);
  }
}

TEST(PassRecogniseAttention, CausalConstantAndHiddenPositions) {
  GraphCase test;
  Value* q = test.input({2, kHeads, 5, kSize});
  Value* k = test.input({2, kHeads, kSize, 5});
  Value* v = test.input({2, kHeads, 5, kSize});
  std::vector<double> later(25, 0);
  for (int i = 0; i < 25; ++i)
    later[static_cast<size_t>(i)] = i % 5 > i / 5 ? -std::numeric_limits<double>::infinity() : 0;
  Value* scores = test.make("Add", {test.make("MatMul", {q, k}), test.constant({1, 1, 5, 5}, later)});
  Value* hidden = test.constant({1, 1, 1, 5}, {0, 0, 1, 0, 0}, DType::kBool);
  scores = test.make("Where", {hidden, test.number(-1e30), scores});
  Value* p = test.make("Softmax", {scores}, with({{"axis", int64_t{3}}}));
  test.output(test.make("MatMul", {p, v}));
  EXPECT_EQ(test.run("recognise_attention"), 1);
  EXPECT_EQ(only_attention(test).get_int("causal", 0), 1);
  EXPECT_EQ(only_attention(test).get_int("k_transposed", 0), 1);
  EXPECT_EQ(test.count("Softmax"), 0);
}

TEST(PassRecogniseAttention, RefusesSharedProbabilitiesAndOtherAxes) {
  GraphCase test;
  Value* q = test.input({2, kHeads, 5, kSize});
  Value* k = test.input({2, kHeads, kSize, 5});
  Value* v = test.input({2, kHeads, 5, kSize});
  Value* p = test.make("Softmax", {test.make("MatMul", {q, k})}, with({{"axis", int64_t{-1}}}));
  test.output(p);
  test.output(test.make("MatMul", {p, v}));
  Value* across = test.make("Softmax", {test.make("MatMul", {q, k})}, with({{"axis", int64_t{2}}}));
  test.output(test.make("MatMul", {across, v}));
  EXPECT_EQ(test.run("recognise_attention"), 0);
}

// q or k are scaled in front of a transpose behind which no [batch][length][width] is found: the scale counts once.
TEST(PassRecogniseAttention, ScaleBeforeTransposes) {
  for (bool scales_q : {false, true}) {
    for (bool scales_k : {false, true}) {
      for (bool turns_k_at_once : {false, true}) {
        GraphCase test;
        Value* q = test.input({1, 8, 2, 16});
        Value* k = test.input({1, 8, 2, 16});
        Value* v = test.transpose(test.input({1, 8, 2, 16}), {0, 2, 1, 3});
        if (scales_q) q = scaled(test, q, 0.25);
        if (scales_k) k = scaled(test, k, 0.5);
        q = test.transpose(q, {0, 2, 1, 3});
        k = turns_k_at_once ? test.transpose(k, {0, 2, 3, 1})
                            : test.transpose(test.transpose(k, {0, 2, 1, 3}), {0, 1, 3, 2});
        Value* p = test.make("Softmax", {test.make("MatMul", {q, k})}, with({{"axis", int64_t{-1}}}));
        test.output(test.make("MatMul", {p, v}));
        EXPECT_EQ(test.run("recognise_attention"), 1);
        EXPECT_EQ(test.count("hussar.Attention"), 1);
      }
    }
  }
}

// Keras adds biases to [batch][length][heads][size] and scales behind them.
TEST(PassRecogniseAttention, BiasPerHeadBeforeScale) {
  GraphCase test;
  Value* x = test.input({2, 5, kWidth});
  Value* parts[3];
  for (Value*& part : parts) {
    part = test.reshape(test.make("MatMul", {x, test.weights({kWidth, kWidth})}), {0, 0, kHeads, kSize});
    part = test.make("Add", {part, test.weights({kHeads, kSize})});
  }
  Value* q = test.transpose(scaled(test, parts[0], 0.5), {0, 2, 1, 3});
  Value* scores = test.make("MatMul", {q, test.transpose(parts[1], {0, 2, 3, 1})});
  Value* p = test.make("Softmax", {scores}, with({{"axis", int64_t{-1}}}));
  test.output(join_heads(test, test.make("MatMul", {p, test.transpose(parts[2], {0, 2, 1, 3})})));
  EXPECT_EQ(test.run("recognise_attention"), 3);
  EXPECT_EQ(test.count("Softmax"), 0);
}

// Scores whose second factor cannot be read leave the graph as it was.
TEST(PassRecogniseAttention, AddsNothingWithoutAMatch) {
  GraphCase test;
  Value* hidden = test.input({1, 1, 5, 5}, DType::kBool);
  Value* other = test.input({2, kHeads, 5, 5});
  Value* scores = test.make("Where", {hidden, test.number(-1e30), test.make("Relu", {other})});
  Value* p = test.make("Softmax", {scores}, with({{"axis", int64_t{-1}}}));
  test.output(test.make("MatMul", {p, test.input({2, kHeads, 5, kSize})}));
  auto facts = infer_graph(test.graph);
  ASSERT_TRUE(facts);
  const size_t nodes = test.graph.nodes().size();
  const Timings nothing;
  PassContext context{test.graph, {}, *facts, nothing};
  for (const Pass* pass : all_passes()) {
    if (pass->name != "recognise_attention") continue;
    EXPECT_EQ(pass->run(context).value(), 0);
  }
  EXPECT_EQ(test.graph.nodes().size(), nodes);
  EXPECT_EQ(hidden->users.size(), 1U);
}

TEST(PassMergeQkv, KeysAndValuesOfAnotherSequence) {
  GraphCase test;
  Value* x = test.input({2, 3, kWidth});
  Value* y = test.input({2, 5, kWidth});
  Value* k = test.make("MatMul", {y, test.weights({kWidth, kWidth})});
  Value* out = test.make("hussar.Attention", {linear(test, x), k, linear(test, y)},
                         with({{"heads", kHeads}, {"head_dim", kSize}}));
  test.output(out);
  EXPECT_EQ(test.run("merge_qkv"), 1);
  EXPECT_EQ(test.count("MatMul"), 2);
}

}  // namespace
}  // namespace hussar
