// A projection and its attention as one step: with which operands, of which shapes, and where it is expected to pay.
#include "ops/infer.h"
#include "tensor/projected_attention.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

constexpr const char* kPass = "fuse_projected_attention";

struct Form {
  int64_t batch = 20, tokens = 80, heads = 2, dim = 64;
  bool has_bias = true, has_mask = true, shows_rows = false, adds_more = false;
};

constexpr int64_t kWidth = 64;

Value* of_halves(GraphCase& test, const Shape& shape) {
  return test.constant(shape, std::vector<double>(static_cast<size_t>(shape.elements()), 0.5), DType::kFloat16);
}

// As they are when the pass comes: sums with the bias are programs.
void build(GraphCase& test, const Form& form) {
  const int64_t hidden = form.heads * form.dim;
  Value* x = test.input({form.batch, form.tokens, kWidth}, DType::kFloat16);
  Value* rows = test.make("MatMul", {x, of_halves(test, {kWidth, 3 * hidden})});
  if (form.has_bias) {
    test.graph.append_input(rows->producer, of_halves(test, {3 * hidden}));
    rows->producer->program = projected::sum_with_bias();
    rows->producer->program_inputs = 2;
    if (form.adds_more) {
      rows->producer->program->step_count = 2;
      rows->producer->program->steps[1].op = ProgramOp::kRelu;
    }
  }
  std::vector<Value*> operands = {rows, rows, rows};
  if (form.has_mask) operands.push_back(test.input({form.batch, 1, 1, form.tokens}));
  test.output(
      test.make("hussar.Attention", operands,
                with({{"heads", form.heads}, {"head_dim", form.dim}, {"k_offset", hidden}, {"v_offset", 2 * hidden}})));
  if (form.shows_rows) test.output(rows);
}

int rewrites(const Form& form, const Target& target = hopper(), bool packed = false) {
  GraphCase test;
  build(test, form);
  const int count = run_pass(test.graph, kPass, target, packed);
  EXPECT_EQ(test.count(std::string(kProjectedAttention)), std::max(count, 0));
  return count;
}

TEST(PassFuseProjectedAttention, OneStep) {
  for (const bool has_bias : {false, true}) {
    for (const bool has_mask : {false, true}) {
      GraphCase test;
      build(test, {.has_bias = has_bias, .has_mask = has_mask});
      const std::string name = test.graph.nodes()[0]->name + "+" + test.graph.nodes()[1]->name;
      EXPECT_EQ(run_pass(test.graph, kPass, hopper()), 1);
      ASSERT_EQ(test.graph.nodes().size(), 1U);
      const Node& node = *test.graph.nodes()[0];
      EXPECT_EQ(node.op, kProjectedAttention);
      EXPECT_EQ(node.name, name);
      EXPECT_EQ(node.input(projected::kFloatBias) != nullptr, has_bias);
      EXPECT_EQ(node.input(projected::kMask) != nullptr, has_mask);
      // The shape stays.
      auto facts = infer_graph(test.graph);
      ASSERT_TRUE(facts);
      EXPECT_EQ(test.graph.outputs[0]->dims, (Dims{20, 80, 128}));
    }
  }
  EXPECT_EQ(rewrites({.batch = 40, .heads = 4, .dim = 32}), 1);
}

TEST(PassFuseProjectedAttention, WhatStays) {
  Target ampere = hopper();
  ampere.sm = 80;
  EXPECT_EQ(rewrites({}, ampere), 0);
  EXPECT_EQ(rewrites({}, Target{}), 0);
  EXPECT_EQ(rewrites({}, hopper(), true), 0);
  Target libraries = hopper();
  libraries.only_libraries = true;
  EXPECT_EQ(rewrites({}, libraries), 0);
  EXPECT_EQ(rewrites({.shows_rows = true}), 0);
  EXPECT_EQ(rewrites({.adds_more = true}), 0);
  EXPECT_EQ(rewrites({.tokens = 129}), 0);
  EXPECT_EQ(rewrites({.batch = 200, .tokens = 64}), 0);
  EXPECT_EQ(rewrites({.heads = 1, .dim = 128}), 0);
  // One tile takes longer than all of the product and the attention of one sequence, spread over the GPU.
  EXPECT_EQ(rewrites({.batch = 1}), 0);
}

}  // namespace
}  // namespace hussar
