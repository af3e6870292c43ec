// Which masks are of padding only, and which nodes treat rows one by one.
#include <limits>

#include "passes/support/padding_mask.h"
#include "passes/support/token_rows.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct MaskCase : GraphCase {
  Value* source(DType dtype = DType::kInt64) { return input({kBatch, kLength}, dtype); }
  Value* stretched(Value* x) { return make("Unsqueeze", {x, integers({1, 2})}); }
  Value* to_float(Value* x) { return make("Cast", {x}, with({{"to", int64_t{1}}})); }
  // 0 for ones, `low` for zeros.
  Value* added(Value* tokens, double low) {
    return make("Mul", {make("Sub", {number(1), to_float(tokens)}), number(low)});
  }
  std::optional<PaddingMask> find(Value* mask, std::string& reason) {
    output(mask);
    auto facts = infer_graph(graph);
    EXPECT_TRUE(facts) << facts.error().message;
    return find_padding_mask(mask, kBatch, kLength, reason);
  }
};

TEST(PassPackTokens, FindsMasks) {
  std::string reason;
  {
    MaskCase test;
    Value* source = test.source();
    auto found = test.find(test.added(test.stretched(source), -3.4e38), reason);
    ASSERT_TRUE(found) << reason;
    EXPECT_EQ(found->source, source);
    EXPECT_FALSE(found->inverted);
  }
  {
    // The sum is made before the dimensions are: the input counts, not what is made of it.
    MaskCase test;
    Value* source = test.source();
    auto found = test.find(test.stretched(test.added(source, -1e4)), reason);
    ASSERT_TRUE(found) << reason;
    EXPECT_EQ(found->source, source);
    EXPECT_FALSE(found->inverted);
  }
  {
    // Ones are padding.
    MaskCase test;
    Value* source = test.source(DType::kBool);
    Value* where = test.make("Where", {test.stretched(source), test.number(-kInfinity), test.number(0)});
    auto found = test.find(where, reason);
    ASSERT_TRUE(found) << reason;
    EXPECT_EQ(found->source, source);
    EXPECT_TRUE(found->inverted);
  }
  {
    // The model knows the word for padding: what counts is where that is, not the words.
    MaskCase test;
    Value* words = test.source();
    test.output(test.make("Gather", {test.weights({9, 4}), words}));
    Value* padding = test.make("Equal", {words, test.number(1, DType::kInt64)});
    Value* where = test.make("Where", {test.stretched(padding), test.number(-1e30), test.number(0)});
    auto found = test.find(where, reason);
    ASSERT_TRUE(found) << reason;
    EXPECT_EQ(found->source, padding);
    EXPECT_TRUE(found->inverted);
  }
}

TEST(PassPackTokens, RefusesOtherMasks) {
  std::string reason;
  auto refuses = [&](auto make) {
    MaskCase test;
    return !test.find(make(test), reason);
  };
  // Too weak to hide anything.
  EXPECT_TRUE(refuses([](MaskCase& test) { return test.added(test.stretched(test.source()), -100); }));
  // 0 * infinity is no number.
  EXPECT_TRUE(refuses([](MaskCase& test) { return test.added(test.stretched(test.source()), -kInfinity); }));
  EXPECT_NE(reason.find("depends on more than which keys are padding"), std::string::npos) << reason;
  // Something for each query.
  EXPECT_TRUE(refuses([](MaskCase& test) {
    Value* bias = test.input({1, 1, kLength, kLength});
    return test.make("Add", {test.added(test.stretched(test.source()), -1e30), bias});
  }));
  EXPECT_NE(reason.find("it depends on the input"), std::string::npos) << reason;
  // Pairs of segments.
  EXPECT_TRUE(refuses([](MaskCase& test) {
    Value* segments = test.to_float(test.source());
    Value* rows = test.make("Unsqueeze", {segments, test.integers({1, 3})});
    Value* columns = test.make("Unsqueeze", {segments, test.integers({1, 2})});
    Value* together = test.make("Equal", {rows, columns});
    return test.make("Where", {together, test.number(0), test.number(-1e30)});
  }));
  // Nothing of the right shape.
  EXPECT_TRUE(refuses([](MaskCase& test) { return test.input({kBatch, 1, 1, kLength}); }));
  EXPECT_NE(reason.find("no input of shape [b, n]"), std::string::npos) << reason;
}

TEST(PassPackTokens, RowAxes) {
  GraphCase test;
  EXPECT_EQ(row_axes(test.input({kBatch, kLength, 8}), kBatch, kLength), 2);
  EXPECT_EQ(row_axes(test.input({kBatch * kLength, 8}), kBatch, kLength), 1);
  EXPECT_EQ(row_axes(test.input({kLength, kBatch, 8}), kBatch, kLength), 0);
  EXPECT_EQ(row_axes(test.input({1, kLength, 8}), kBatch, kLength), 0);
}

struct RegionCase : GraphCase {
  Value* x = input({kBatch, kLength, 8});
  Value* mask = input({kBatch, kLength}, DType::kInt64);
  Node* attention = nullptr;

  Value* attend(Value* qkv) {
    Value* y = make("hussar.Attention", {qkv, qkv, qkv}, with({{"heads", int64_t{2}}, {"head_dim", int64_t{4}}}));
    attention = y->producer;
    return y;
  }
  TokenRegion region() {
    auto facts = infer_graph(graph);
    EXPECT_TRUE(facts) << facts.error().message;
    return find_token_region({attention}, {}, kBatch, kLength);
  }
};

TEST(PassPackTokens, RowWiseNodes) {
  RegionCase test;
  Value* position = test.input({1, kLength, 8});
  Value* entry = test.make("Add", {test.x, position});  // each position has another number
  Value* q = test.make("MatMul", {entry, test.weights({8, 8})});
  Value* y = test.attend(q);
  Value* flat = test.reshape(y, {-1, 8});
  Value* sum = test.make("Gemm", {flat, test.weights({8, 3}), test.weights({3})});
  Value* softmax = test.make("Softmax", {sum}, with({{"axis", int64_t{-1}}}));
  Value* norm = test.make("LayerNormalization", {y, test.weights({8})});
  Value* factor = test.make("Mul", {norm, test.input({kBatch, kLength, 1})});
  Value* across = test.make("Softmax", {y}, with({{"axis", int64_t{1}}}));
  Value* length = test.make("ReduceMean", {y, test.integers({1})});
  for (Value* value : {softmax, factor, across, length}) test.output(value);
  const TokenRegion region = test.region();
  for (Value* inside : {q, y, flat, sum, softmax, norm, factor}) EXPECT_TRUE(region.contains(inside->producer));
  for (Value* outside : {entry, across, length}) EXPECT_FALSE(region.contains(outside->producer));
  EXPECT_TRUE(region.contains(entry));
  EXPECT_FALSE(region.contains(position));
  EXPECT_FALSE(region.contains(test.x));
}

// Ranges of whole tensors would count rows that nobody computes.
TEST(PassPackTokens, RangesOfTensorsAreNoRows) {
  RegionCase test;
  Value* q = test.make("hussar.DynamicFakeQuantize", {test.x});
  test.output(test.attend(q));
  EXPECT_FALSE(test.region().contains(q->producer));
}

}  // namespace
}  // namespace hussar
