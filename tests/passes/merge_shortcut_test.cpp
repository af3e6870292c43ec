// Which pairs of convolutions become one step, with the same values before and after.
#include "compile/split_composites.h"
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "tactics/problem_grammar.h"
#include "tensor/conv_sum.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

struct Form {
  int64_t stride = 1, other_stride = 2;  // of the convolution that adds, and of the one that is added
  bool adds_first = true;                // else behind a Relu
  bool has_more = false;                 // another operand, and a step for it
  bool is_output = false;                // what is added is a result, too
  int64_t groups = 1;                    // of the one that is added
};

ProgramStep step_of(ProgramOp op, int operand = -1) {
  ProgramStep step{};
  step.op = op;
  if (operand >= 0) step.source = ProgramSource::kOperand, step.b = static_cast<uint8_t>(operand);
  return step;
}

// Conv(a, w, bias){add t, relu, mul m} with t = Conv(b, v).
GraphCase block_of(const Form& form) {
  GraphCase test;
  auto picture = [&](int64_t channels, int64_t stride) {
    const int64_t side = 4 * stride;
    Value* value = test.input({Dim(2), Dim(channels), Dim(side), Dim(side)});
    value->layout = Layout::kChannelsLast;
    return value;
  };
  auto strides = [](int64_t stride) { return with({{"strides", Ints{stride, stride}}}); };
  Value* a = picture(24, form.stride);
  Value* b = picture(16, form.other_stride);
  Attributes attributes = strides(form.other_stride);
  attributes.set("group", form.groups);
  Value* w = test.weights({32, 24, 1, 1});
  Value* t = test.make("Conv", {b, test.weights({32, 16 / form.groups, 1, 1})}, attributes);
  Value* y = test.make("Conv", {a, w, test.weights({32}), t}, strides(form.stride));
  y->layout = t->layout = Layout::kChannelsLast;
  Node& node = *y->producer;
  node.program = Program{};
  node.program_inputs = 3;
  Program& program = *node.program;
  program.operand_count = 1;
  if (!form.adds_first) program.steps[program.step_count++] = step_of(ProgramOp::kRelu);
  program.steps[program.step_count++] = step_of(ProgramOp::kAdd, 0);
  program.steps[program.step_count++] = step_of(ProgramOp::kRelu);
  if (form.has_more) {
    // The shortcut is the second operand.
    node.inputs[3]->users.clear();
    node.inputs[3] = nullptr;
    test.graph.set_input(&node, 3, test.number(2));
    test.graph.set_input(&node, 4, t);
    program.operand_count = 2;
    program.steps[0].b = 1;
    program.steps[program.step_count++] = step_of(ProgramOp::kMul, 0);
  }
  test.output(y);
  if (form.is_output) test.output(t);
  return test;
}

std::vector<Tensor> outputs_of(const Graph& graph) {
  std::vector<Tensor> inputs;
  int64_t next = 0;
  for (const Value* input : graph.inputs) {
    Tensor tensor(input->dtype, *input->static_shape());
    for (int64_t i = 0; i < tensor.elements(); ++i) tensor.data<float>()[i] = static_cast<float>(next++ % 7) - 3;
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
    for (int64_t k = 0; k < actual[i].elements(); ++k)
      ASSERT_NEAR(actual[i].data<float>()[k], expected[i].data<float>()[k], 1e-4);
  }
}

int merges_of(const Form& form, const Target& target = hopper()) {
  GraphCase test = block_of(form);
  return run_pass(test.graph, "merge_shortcut", target);
}

TEST(MergeShortcut, KeepsValues) {
  for (const Form& form : {Form{}, Form{2, 1}, Form{1, 1}, Form{.has_more = true}}) {
    GraphCase test = block_of(form);
    EXPECT_TRUE(infer_graph(test.graph));
    const std::vector<Tensor> expected = outputs_of(test.graph);
    EXPECT_EQ(run_pass(test.graph, "merge_shortcut", hopper()), 1);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
    EXPECT_EQ(test.count(std::string(kConvSum)), 1);
    expect_same(outputs_of(test.graph), expected);
    // Again a step, and apart where nobody can do it.
    EXPECT_TRUE(split_composites(test.graph, hopper()));
    EXPECT_EQ(test.count(std::string(kConvSum)), 1);
    EXPECT_TRUE(split_composites(test.graph, Target{}));
    EXPECT_EQ(test.count("Conv"), 2);
    EXPECT_EQ(test.graph.nodes().size(), 2U);
    EXPECT_TRUE(test.graph.verify());
    expect_same(outputs_of(test.graph), expected);
  }
}

// Where both convolutions, one of them by kernels for 2:4 weights, are predicted to take less time than the merged
// step, they stay. Nothing is evaluated.
int merges_of_halves(int64_t channels, bool is_sparse) {
  GraphCase test;
  auto picture = [&](int64_t count) {
    Value* value = test.input({Dim(256), Dim(count), Dim(14), Dim(14)}, DType::kFloat16);
    value->layout = Layout::kChannelsLast;
    return value;
  };
  auto filters = [&](int64_t count, bool has_zeros) {
    std::vector<double> values(static_cast<size_t>(512 * count), 0.5);
    for (size_t i = 0; has_zeros && i < values.size(); ++i) values[i] = i % 4 > 1 ? 0 : 0.5;
    return test.constant({512, count, 1, 1}, values, DType::kFloat16);
  };
  Value* t = test.make("Conv", {picture(64), filters(64, false)});
  Value* y = test.make("Conv", {picture(channels), filters(channels, is_sparse), nullptr, t});
  y->layout = t->layout = Layout::kChannelsLast;
  Node& node = *y->producer;
  node.program = Program{};
  node.program_inputs = 3;
  node.program->operand_count = 1;
  node.program->steps[node.program->step_count++] = step_of(ProgramOp::kAdd, 0);
  test.output(y);
  return run_pass(test.graph, "merge_shortcut", hopper());
}

TEST(MergeShortcut, TwoOfFourWeights) {
  EXPECT_EQ(merges_of_halves(64, true), 1);
  EXPECT_EQ(merges_of_halves(4096, true), 0);
  EXPECT_EQ(merges_of_halves(4096, false), 1);
}

TEST(MergeShortcut, LeavesOthersAlone) {
  EXPECT_EQ(merges_of({2, 2}), 0) << "no rows that lie one after the other";
  EXPECT_EQ(merges_of({.adds_first = false}), 0) << "the sum is not what comes first";
  EXPECT_EQ(merges_of({.is_output = true}), 0) << "somebody else reads it";
  EXPECT_EQ(merges_of({.groups = 2}), 0);
  Target target = hopper();
  target.only_libraries = true;
  EXPECT_EQ(merges_of({}, target), 0);
  target = hopper();
  target.no_tf32 = "needs --tf32";
  EXPECT_EQ(merges_of({}, target), 0) << "floats are multiplied by other kernels";
  target = hopper();
  target.sm = 80;
  EXPECT_EQ(merges_of({}, target), 0);
  EXPECT_EQ(merges_of({}, Target{}), 0);
}

// What logs and timing caches say of it can be read again.
TEST(MergeShortcut, IsSpelled) {
  GraphCase test = block_of({.has_more = true});
  EXPECT_EQ(run_pass(test.graph, "merge_shortcut", hopper()), 1);
  const std::string text = spell_problem(*test.graph.nodes().front());
  auto read = parse_problem(text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(spell_problem(*read->node), text);
  EXPECT_EQ(has_own_kernel(Problem{*read->node, hopper()}), true);
}

}  // namespace
}  // namespace hussar
