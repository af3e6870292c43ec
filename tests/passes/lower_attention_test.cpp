// ONNX's Attention as hussar.Attention.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

constexpr int64_t kHeads = 4, kSize = 4, kWidth = kHeads * kSize;

TEST(PassLowerAttention, FlatAndHeadMajor) {
  GraphCase test;
  Value* q = test.input({2, 5, kWidth});
  Value* k = test.input({2, 5, kSize});
  Value* v = test.input({2, 5, 6});
  Attributes attributes = with({{"q_num_heads", kHeads}, {"kv_num_heads", int64_t{1}}, {"is_causal", int64_t{1}}});
  test.output(test.make("Attention", {q, k, v}, attributes));
  Value* h = test.input({2, kHeads, 5, kSize});
  test.output(test.make("Attention", {h, h, h, test.input({5, 5})}, with({{"scale", 0.3F}})));
  test.output(test.make("Attention", {h, h, h}, with({{"softcap", 0.7F}})));
  EXPECT_EQ(test.run("lower_attention"), 3);
  EXPECT_EQ(test.count("hussar.Attention"), 3);
}

TEST(PassLowerAttention, BooleanMask) {
  GraphCase test;
  Value* q = test.input({2, kHeads, 5, kSize});
  Value* k = test.input({2, 2, 7, kSize});
  Value* v = test.input({2, 2, 7, 3});
  test.output(test.make("Attention", {q, k, v, test.input({2, 1, 5, 7}, DType::kBool)}));
  EXPECT_EQ(test.run("lower_attention"), 1);
  EXPECT_EQ(test.count("hussar.Attention"), 1);
}

TEST(PassLowerAttention, Cache) {
  for (bool flat : {false, true}) {
    for (bool causal : {false, true}) {
      GraphCase test;
      Value* q = test.input(flat ? Dims{2, 3, kWidth} : Dims{2, kHeads, 3, kSize});
      Value* k = test.input(flat ? Dims{2, 3, 2 * kSize} : Dims{2, 2, 3, kSize});
      Value* v = test.input(flat ? Dims{2, 3, 2 * 5} : Dims{2, 2, 3, 5});
      Value* past_k = test.input({2, 2, Dim::symbol("p"), kSize});
      Value* past_v = test.input({2, 2, Dim::symbol("p"), 5});
      Attributes attributes = with({{"is_causal", static_cast<int64_t>(causal)}});
      if (flat) {
        attributes.set("q_num_heads", kHeads);
        attributes.set("kv_num_heads", int64_t{2});
      }
      auto outputs = test.make_many("Attention", {q, k, v, nullptr, past_k, past_v}, 3, attributes);
      for (Value* output : outputs) test.output(output);
      EXPECT_EQ(test.run("lower_attention"), 1);
      EXPECT_EQ(test.count("Attention"), 0);
      EXPECT_EQ(test.count("Concat"), 2);
    }
  }
}

TEST(PassLowerAttention, PresentsWithoutPastAndKeyLengths) {
  GraphCase test;
  Value* q = test.input({2, 3, kWidth});
  Value* k = test.input({2, 6, kWidth});
  Value* lengths = test.constant({2}, {4, 6}, DType::kInt64);
  Attributes attributes = with({{"q_num_heads", kHeads}, {"kv_num_heads", kHeads}});
  std::vector<Value*> inputs = {q, k, k, test.input({3, 6}), nullptr, nullptr, lengths};
  for (Value* output : test.make_many("Attention", inputs, 3, attributes)) test.output(output);
  EXPECT_EQ(test.run("lower_attention"), 1);
  EXPECT_EQ(test.count("hussar.Attention"), 1);
}

TEST(PassLowerAttention, RefusesScoresAsOutputAndCappedMasks) {
  GraphCase test;
  Value* h = test.input({2, kHeads, 5, kSize});
  for (Value* output : test.make_many("Attention", {h, h, h}, 4)) test.output(output);
  test.output(test.make("Attention", {h, h, h, test.input({5, 5})}, with({{"softcap", 2.0F}})));
  EXPECT_EQ(test.run("lower_attention"), 0);
}

}  // namespace
}  // namespace hussar
