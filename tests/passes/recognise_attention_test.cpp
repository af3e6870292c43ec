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

Value* softmax(GraphCase& test, Value* x) { return test.make("Softmax", {x}, with({{"axis", int64_t{-1}}})); }

TEST(PassRecogniseAttention, LongChainsOfMasksStay) {
  for (int masks : {8, 1000}) {
    GraphCase test;
    Value* scores = test.make("MatMul", {test.input({2, kHeads, 5, kSize}), test.input({2, kHeads, kSize, 5})});
    for (int i = 0; i < masks; ++i) scores = test.make("Add", {scores, test.number(i * 1e-3)});
    test.output(test.make("MatMul", {softmax(test, scores), test.input({2, kHeads, 5, kSize})}));
    EXPECT_EQ(test.run("recognise_attention"), masks == 8 ? 1 : 0);
  }
}

// BART and OPT: products of [batch * heads][length][size], a mask that is added in between to [batch][heads]....
TEST(PassRecogniseAttention, BatchAndHeadsInOneDimension) {
  for (bool has_mask : {false, true}) {
    GraphCase test;
    Value* x = test.input({kBatch, 5, kWidth});
    auto part = [&](double scale) {
      Value* value = test.transpose(split_heads(test, scaled(test, linear(test, x), scale)), {0, 2, 1, 3});
      return test.reshape(value, {-1, 5, kSize});
    };
    Value* q = part(0.5);
    Value* scores = test.make("MatMul", {q, test.transpose(part(1), {0, 2, 1})});
    if (has_mask) {
      scores = test.reshape(scores, {-1, kHeads, 5, 5});
      scores = test.make("Add", {scores, test.input({kBatch, 1, 5, 5})});
      scores = test.reshape(scores, {-1, 5, 5});
    }
    Value* out = test.make("MatMul", {softmax(test, scores), part(1)});
    test.output(join_heads(test, test.reshape(out, {-1, kHeads, 5, kSize})));
    EXPECT_EQ(test.run("recognise_attention"), 3);
    EXPECT_EQ(test.count("hussar.Attention"), 1);
    EXPECT_EQ(test.count("Transpose") + test.count("Reshape") + test.count("Softmax"), 0);
    EXPECT_EQ(only_attention(test).get_int("heads", 0), kHeads);
    EXPECT_EQ(only_attention(test).get_int("head_major", -1), 0);
  }
}

// fairseq: the length is outermost, so that batch and heads were never apart. Masks of every rank.
TEST(PassRecogniseAttention, HeadsAsBatch) {
  for (int form = 0; form < 4; ++form) {
    GraphCase test;
    Value* x = test.input({5, 2, kWidth});
    auto part = [&] { return test.transpose(test.reshape(linear(test, x), {5, 2 * kHeads, kSize}), {1, 0, 2}); };
    Value* q = scaled(test, part(), 0.5);
    Value* scores = test.make("MatMul", {q, test.transpose(part(), {0, 2, 1})});
    if (form == 1) scores = test.make("Add", {test.input({5, 5}), scores});
    if (form == 2) scores = test.make("Add", {scores, test.input({2 * kHeads, 1, 5})});
    if (form == 3) {
      Value* hidden = test.constant({1, 1, 5}, {0, 0, 1, 0, 1}, DType::kBool);
      scores = test.make("Where", {hidden, test.number(-std::numeric_limits<double>::infinity()), scores});
    }
    Value* out = test.make("MatMul", {softmax(test, scores), part()});
    test.output(test.reshape(test.transpose(out, {1, 0, 2}), {5, 2, kWidth}));
    EXPECT_EQ(test.run("recognise_attention"), 1) << form;
    EXPECT_EQ(only_attention(test).get_int("heads", 0), 1);
    EXPECT_EQ(test.count("Softmax") + test.count("Where"), 0);
    EXPECT_EQ(test.count("Reshape"), form == 2 ? 5 : 4);
  }
}

// Operands and output of rank 3 are cut where the mask tells the heads, and keys may come transposed.
TEST(PassRecogniseAttention, JoinedOperandsAsTheyAre) {
  for (bool has_mask : {false, true}) {
    GraphCase test;
    Value* q = test.input({2 * kHeads, 5, kSize});
    Value* k = test.input({2 * kHeads, kSize, 7});
    Value* v = test.input({2 * kHeads, 7, 2});
    Value* scores = test.make("MatMul", {q, k});
    scores = test.make("Add", {scores, test.input({2 * kHeads, 5, 7})});
    if (has_mask) {
      scores = test.make("Add", {test.reshape(scores, {2, kHeads, 5, 7}), test.input({2, 1, 1, 7})});
      scores = test.reshape(scores, {2 * kHeads, 5, 7});
    }
    test.output(test.make("MatMul", {softmax(test, scores), v}));
    EXPECT_EQ(test.run("recognise_attention"), 1);
    EXPECT_EQ(only_attention(test).get_int("heads", 0), has_mask ? kHeads : 1);
    EXPECT_EQ(only_attention(test).get_int("k_transposed", 0), 1);
    EXPECT_EQ(test.count("Softmax"), 0);
  }
}

// Swin: a mask per window, added to [pictures][windows][heads]....
TEST(PassRecogniseAttention, MaskPerWindow) {
  for (int64_t pictures : {1, 2}) {
    GraphCase test;
    const int64_t batch = pictures * 4;
    Value* q = test.input({batch, kHeads, 5, kSize});
    Value* k = test.input({batch, kHeads, kSize, 5});
    Value* v = test.input({batch, kHeads, 5, kSize});
    Value* scores = test.make("Add", {test.make("MatMul", {scaled(test, q, 0.5), k}), test.weights({1, kHeads, 5, 5})});
    scores = test.reshape(scores, {pictures, 4, kHeads, 5, 5});
    scores = test.make("Add", {scores, test.weights({1, 4, 1, 5, 5})});
    scores = test.reshape(scores, {batch, kHeads, 5, 5});
    test.output(test.make("MatMul", {softmax(test, scores), v}));
    EXPECT_EQ(test.run("recognise_attention"), pictures == 1 ? 1 : 0);
    // The masks are one constant.
    EXPECT_EQ(test.count("Add"), pictures == 1 ? 0 : 2);
  }
}

// k and v of fewer heads, each of which serves some neighbouring heads of q.
TEST(PassRecogniseAttention, RepeatedHeads) {
  constexpr int64_t kGroups = 2, kQueryHeads = kHeads * kGroups;
  for (int form = 0; form < 7; ++form) {
    GraphCase test;
    Value* x = test.input({2, 5, kWidth});
    auto repeated = [&](Value* value, bool tiles) {
      value = test.make("Unsqueeze", {value, test.integers({2})});
      value = tiles ? test.make("Tile", {value, test.integers({1, 1, kGroups, 1, 1})})
                    : test.make("Expand", {value, test.integers({2, kHeads, kGroups, 5, kSize})});
      return test.reshape(value, {2, kQueryHeads, 5, kSize});
    };
    Value* q = test.reshape(linear(test, x, kQueryHeads * kSize), {0, 0, kQueryHeads, kSize});
    q = test.transpose(q, {0, 2, 1, 3});
    Value* k = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
    Value* v = test.transpose(split_heads(test, linear(test, x)), {0, 2, 1, 3});
    if (form == 1) k = scaled(test, k, 0.5);
    k = repeated(k, form == 2);
    // Values that are not repeated alike: then neither is seen through.
    v = form == 3 ? test.input({2, kQueryHeads, 5, kSize}) : repeated(v, form == 2);
    if (form == 4 || form == 6) {
      // torch.onnx's dynamo exporter, and the same with its reshapes simplified.
      if (form == 6) k = k->producer->inputs[0];
      k = test.reshape(test.transpose(test.reshape(k, {-1, 5, kSize}), {0, 2, 1}), {2, kQueryHeads, kSize, 5});
    } else {
      k = test.transpose(k, {0, 1, 3, 2});
    }
    if (form == 5) k = scaled(test, k, 0.7);
    Value* p = softmax(test, test.make("MatMul", {scaled(test, q, 0.3), k}));
    Value* out = test.transpose(test.make("MatMul", {p, v}), {0, 2, 1, 3});
    test.output(test.reshape(out, {0, 0, kQueryHeads * kSize}));
    EXPECT_EQ(test.run("recognise_attention"), 3) << form;
    EXPECT_EQ(only_attention(test).get_int("heads", 0), kQueryHeads);
    EXPECT_EQ(only_attention(test).get_int("kv_heads", 0), form == 3 ? kQueryHeads : kHeads);
    EXPECT_EQ(test.count("Expand") + test.count("Tile"), form == 3 ? 1 : 0) << form;
    EXPECT_EQ(test.run("merge_qkv"), form == 3 ? 0 : 1) << form;
  }
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
