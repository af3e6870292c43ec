// If, Loop, Scan and reference steps in sessions: what bodies hand on, and no allocation once shapes have been seen.
#include <gtest/gtest.h>

#include "runtime/session.h"
#include "tests/support/allocations.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::unique_ptr<Session> session_of(const Message& model) {
  auto plan = build(model.bytes());
  EXPECT_TRUE(plan) << plan.error().message;
  auto session = plan ? Session::create(*plan) : tl::unexpected(plan.error());
  EXPECT_TRUE(session) << session.error().message;
  return session ? std::move(*session) : nullptr;
}

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::from<float>(DType::kFloat32, shape, values);
}
Tensor count_of(int64_t count) { return Tensor::from<int64_t>(DType::kInt64, {}, std::vector<int64_t>{count}); }
Tensor flag_of(bool flag) { return Tensor::from<bool>(DType::kBool, {}, std::initializer_list<bool>{flag}); }

std::vector<float> elements(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

using Inputs = std::vector<Tensor>;

void expect_outputs(Session& session, const Inputs& inputs, const std::vector<std::vector<float>>& expected) {
  auto outputs = session.run_in_order(inputs);
  ASSERT_TRUE(outputs) << outputs.error().message;
  ASSERT_EQ(outputs->size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(elements((*outputs)[i]), expected[i]) << i;
}

// All of them have been seen once, then they come in turns.
void expect_no_allocation(const Message& model, const std::vector<Inputs>& inputs) {
  if (!can_count_allocations()) GTEST_SKIP() << "sanitizers allocate by themselves";
  auto session = session_of(model);
  for (const Inputs& each : inputs) {
    auto outputs = session->run_in_order(each);
    ASSERT_TRUE(outputs) << outputs.error().message;
  }
  const int64_t before = allocation_count();
  for (int i = 0; i < 3; ++i) {
    for (const Inputs& each : inputs) ASSERT_TRUE(session->run_in_order(each));
  }
  EXPECT_EQ(allocation_count() - before, 0);
}

// (a, b) -> (b, a + k) as often as `m` says, where k comes from outside; gives a, b, and of every iteration a and k.
Message loop_model() {
  Message body = graph(
      {{node("Identity", {"c"}, {"c1"}), node("Identity", {"b"}, {"a1"}), node("Add", {"a", "k"}, {"b1"}),
        node("Identity", {"a"}, {"seen"}), node("Neg", {"k"}, {"minus"})},
       {value("i", {}, DType::kInt64), value("c", {}, DType::kBool), value("a", {2}), value("b", {2})},
       {value("c1", {}, DType::kBool), value("a1", {2}), value("b1", {2}), value("seen", {2}), value("minus", {2})},
       {}});
  return model(
      graph({{node("Loop", {"m", "", "x", "y"}, {"p", "q", "seen_all", "minus_all"}, {graph_attribute("body", body)})},
             {value("m", {}, DType::kInt64), value("x", {2}), value("y", {2}), value("k", {2})},
             {any_shape("p"), any_shape("q"), any_shape("seen_all"), any_shape("minus_all")},
             {}}));
}

Inputs loop_inputs(int64_t trips) {
  return {count_of(trips), floats({2}, {1, 2}), floats({2}, {10, 20}), floats({2}, {0.5, 0.25})};
}

TEST(ControlFlow, LoopStatesThatChangePlaces) {
  auto session = session_of(loop_model());
  for (int round = 0; round < 2; ++round) {
    expect_outputs(*session, loop_inputs(3),
                   {{10.5, 20.25}, {2, 2.5}, {1, 2, 10, 20, 1.5, 2.25}, {-0.5, -0.25, -0.5, -0.25, -0.5, -0.25}});
    expect_outputs(*session, loop_inputs(1), {{10, 20}, {1.5, 2.25}, {1, 2}, {-0.5, -0.25}});
    expect_outputs(*session, loop_inputs(0), {{1, 2}, {10, 20}, {}, {}});
  }
  auto outputs = session->run_in_order(loop_inputs(0));
  ASSERT_TRUE(outputs);
  EXPECT_EQ((*outputs)[2].shape(), (Shape{0, 2}));
}

TEST(ControlFlow, LoopAllocatesNothing) {
  expect_no_allocation(loop_model(), {loop_inputs(5)});
  expect_no_allocation(loop_model(), {loop_inputs(0)});
  expect_no_allocation(loop_model(), {loop_inputs(7), loop_inputs(2)});
}

// A counter and a condition that the body declares as lists of one element.
TEST(ControlFlow, LoopNumbersThatAreLists) {
  Message body = graph({{node("Less", {"i", "three"}, {"c1"}), node("Add", {"s", "one"}, {"s1"})},
                        {value("i", {1}, DType::kInt64), value("c", {1}, DType::kBool), value("s", {1})},
                        {value("c1", {1}, DType::kBool), value("s1", {1})},
                        {tensor_of("three", DType::kInt64, {1}, std::vector<int64_t>{3}),
                         tensor_of("one", DType::kFloat32, {1}, std::vector<float>{1})}});
  auto session = session_of(model(graph({{node("Loop", {"m", "", "x"}, {"y"}, {graph_attribute("body", body)})},
                                         {value("m", {}, DType::kInt64), value("x", {1})},
                                         {any_shape("y")},
                                         {}})));
  expect_outputs(*session, {count_of(100), floats({1}, {0})}, {{4}});
  expect_outputs(*session, {count_of(2), floats({1}, {0})}, {{2}});
}

// The state doubles in every iteration: then bodies are bound anew, and what they gave before must be there still.
TEST(ControlFlow, LoopStatesThatGrow) {
  Message body =
      graph({{node("Identity", {"c"}, {"c1"}), node("Concat", {"s", "s"}, {"s1"}, {attribute("axis", int64_t{0})})},
             {value("i", {}, DType::kInt64), value("c", {}, DType::kBool), value("s", {"S"})},
             {value("c1", {}, DType::kBool), value("s1", {"T"})},
             {}});
  auto session = session_of(model(graph({{node("Loop", {"m", "", "x"}, {"y"}, {graph_attribute("body", body)})},
                                         {value("m", {}, DType::kInt64), value("x", {2})},
                                         {any_shape("y")},
                                         {}})));
  for (int64_t trips : {3, 0, 2, 6}) {
    auto outputs = session->run_in_order(Inputs{count_of(trips), floats({2}, {3, 4})});
    ASSERT_TRUE(outputs) << outputs.error().message;
    ASSERT_EQ((*outputs)[0].elements(), 2 << trips);
    for (int64_t i = 0; i < 2 << trips; ++i) EXPECT_EQ((*outputs)[0].data<float>()[i], i % 2 == 0 ? 3 : 4);
  }
}

// sum' = sum + x, and x itself, over the columns of x from the last to the first; joined as columns in reverse order.
Message scan_model() {
  Message body = graph({{node("Add", {"sum", "x"}, {"sum1"}), node("Identity", {"x"}, {"same"})},
                        {value("sum", {2}), value("x", {2})},
                        {value("sum1", {2}), value("same", {2})},
                        {}});
  auto list = [](std::string_view name, int64_t item) { return attribute(name, std::vector<int64_t>{item}); };
  return model(
      graph({{node("Scan", {"start", "x"}, {"sum", "y"},
                   {graph_attribute("body", body), attribute("num_scan_inputs", int64_t{1}), list("scan_input_axes", 1),
                    list("scan_input_directions", 1), list("scan_output_axes", 1), list("scan_output_directions", 1)})},
             {value("start", {2}), value("x", {2, "T"})},
             {any_shape("sum"), any_shape("y")},
             {}}));
}

TEST(ControlFlow, ScanAlongColumns) {
  auto session = session_of(scan_model());
  for (int round = 0; round < 2; ++round) {
    expect_outputs(*session, {floats({2}, {100, 200}), floats({2, 3}, {1, 2, 3, 4, 5, 6})},
                   {{106, 215}, {1, 2, 3, 4, 5, 6}});
    expect_outputs(*session, {floats({2}, {100, 200}), floats({2, 1}, {1, 4})}, {{101, 204}, {1, 4}});
  }
}

TEST(ControlFlow, ScanAllocatesNothing) {
  expect_no_allocation(scan_model(), {{floats({2}, {1, 2}), floats({2, 3}, {1, 2, 3, 4, 5, 6})}});
}

TEST(ControlFlow, IfAllocatesNothing) {
  const Tensor x = floats({4}, {0, 1, 0, 2});
  expect_no_allocation(control_model(), {{x, flag_of(true)}, {x, flag_of(false)}});
}

// A Loop in a branch of an If, whose other branch gives a value from outside.
Message nested_model() {
  Message body = graph({{node("Identity", {"c"}, {"c1"}), node("Mul", {"s", "x"}, {"s1"})},
                        {value("i", {}, DType::kInt64), value("c", {}, DType::kBool), value("s", {2})},
                        {value("c1", {}, DType::kBool), value("s1", {2})},
                        {}});
  Message power =
      graph({{node("Loop", {"m", "", "x"}, {"power"}, {graph_attribute("body", body)})}, {}, {any_shape("power")}, {}});
  Message same = graph({{node("Identity", {"x"}, {"same"})}, {}, {any_shape("same")}, {}});
  return model(
      graph({{node("If", {"c"}, {"y"}, {graph_attribute("then_branch", power), graph_attribute("else_branch", same)}),
              node("Add", {"y", "x"}, {"z"})},
             {value("c", {}, DType::kBool), value("m", {}, DType::kInt64), value("x", {2})},
             {any_shape("z")},
             {}}));
}

TEST(ControlFlow, NestedBodies) {
  auto session = session_of(nested_model());
  const Tensor x = floats({2}, {2, 3});
  for (int round = 0; round < 2; ++round) {
    expect_outputs(*session, {flag_of(true), count_of(2), x}, {{10, 30}});
    expect_outputs(*session, {flag_of(false), count_of(2), x}, {{4, 6}});
    expect_outputs(*session, {flag_of(true), count_of(0), x}, {{4, 6}});
  }
  expect_no_allocation(nested_model(), {{flag_of(true), count_of(2), x}, {flag_of(false), count_of(2), x}});
}

// Sums, remainders, minima and chosen elements of integers: the reference evaluators do these.
TEST(ControlFlow, ReferenceStepsAllocateNothing) {
  const std::vector<int64_t> one = {1}, seven = {7};
  const auto int32 = static_cast<int64_t>(DType::kInt32);
  Message numbers = model(
      graph({{node("Cast", {"x"}, {"n"}, {attribute("to", int32)}), node("ReduceSum", {"n", "one"}, {"sum"}),
              node("Mod", {"x", "seven"}, {"rest"}), node("ReduceMin", {"rest", "one"}, {"least"}),
              node("NonZero", {"rest"}, {"where"})},
             {value("x", {2, "C"}, DType::kInt64)},
             {any_shape("sum", DType::kInt32), any_shape("least", DType::kInt64), any_shape("where", DType::kInt64)},
             {tensor_of("one", DType::kInt64, {1}, one), tensor_of("seven", DType::kInt64, {}, seven)}}));
  const Tensor x = Tensor::from<int64_t>(DType::kInt64, {2, 3}, std::vector<int64_t>{1, 7, 9, 14, 30, 6});
  auto session = session_of(numbers);
  int references = 0;
  for (const PlanStep& step : session->plan().graph.steps) references += step.kernel == kReferenceKernel ? 1 : 0;
  EXPECT_GE(references, 3);
  auto outputs = session->run_in_order(Inputs{x});
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_EQ((*outputs)[0].data<int32_t>()[1], 50);
  EXPECT_EQ((*outputs)[1].data<int64_t>()[1], 0);
  EXPECT_EQ((*outputs)[2].shape(), (Shape{2, 4}));
  expect_no_allocation(numbers, {{x}});
}

TEST(ControlFlow, FirstOutputThatNobodyTakes) {
  Message scales = model(graph({{node("DynamicQuantizeLinear", {"x"}, {"", "scale", "zero"})},
                                {value("x", {4})},
                                {any_shape("scale", DType::kFloat32), any_shape("zero", DType::kUInt8)}}));
  auto session = session_of(scales);
  auto outputs = session->run_in_order(Inputs{floats({4}, {0, 1, -1, 1.55F})});
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_FLOAT_EQ((*outputs)[0].data<float>()[0], 0.01F);
  EXPECT_EQ((*outputs)[1].data<uint8_t>()[0], 100);
}

TEST(ControlFlow, ReferenceConvolutionsAllocateNothing) {
  const std::vector<double> weights = {1, 2, 3, 4, 5, 6}, bias = {0.5};
  Message doubles =
      model(graph({{node("Conv", {"x", "w", "b"}, {"y"}, {attribute("pads", std::vector<int64_t>{1, 1})})},
                   {value("x", {1, 2, "W"}, DType::kFloat64)},
                   {any_shape("y", DType::kFloat64)},
                   {tensor_of("w", DType::kFloat64, {1, 2, 3}, weights), tensor_of("b", DType::kFloat64, {1}, bias)}}));
  const Tensor x = Tensor::from<double>(DType::kFloat64, {1, 2, 2}, std::vector<double>{1, 2, 3, 4});
  auto session = session_of(doubles);
  EXPECT_EQ(session->plan().graph.steps.at(0).kernel, kReferenceKernel);
  auto outputs = session->run_in_order(Inputs{x});
  ASSERT_TRUE(outputs) << outputs.error().message;
  // 0.5 + 1 * 2 + 2 * 3 + 3 * 5 + 4 * 6, and 0.5 + 1 * 1 + 2 * 2 + 3 * 4 + 4 * 5
  EXPECT_EQ((*outputs)[0].data<double>()[0], 47.5);
  EXPECT_EQ((*outputs)[0].data<double>()[1], 37.5);
  expect_no_allocation(doubles, {{x}});
}

}  // namespace
}  // namespace hussar
