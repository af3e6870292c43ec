// Sessions: what callers do wrong, NaN, shapes that change, and no allocation once shapes have been seen.
#include "runtime/session.h"
#include "onnx/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/allocations.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::shared_ptr<const Plan> plan_of(const Message& model, int threads = 1) {
  CompileOptions options;
  options.threads = threads;
  auto plan = build(model.bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

std::unique_ptr<Session> session_of(const Message& model, int threads = 1) {
  auto session = Session::create(plan_of(model, threads));
  EXPECT_TRUE(session) << session.error().message;
  return session ? std::move(*session) : nullptr;
}

Tensor filled(const Shape& shape, float value) {
  Tensor tensor(DType::kFloat32, shape);
  std::fill_n(tensor.data<float>(), tensor.elements(), value);
  return tensor;
}

void expect_usage_error(const Result<std::span<const Tensor>>& result, const char* words) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUsage) << result.error().message;
  EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message;
}

TEST(Session, WrongNames) {
  auto session = session_of(dense_model());
  Tensor x = filled({2, 3}, 1);
  expect_usage_error(session->run(std::vector<NamedTensor>{{"z", x}}), "takes x");
  expect_usage_error(session->run(std::vector<NamedTensor>{{"x", x}, {"x", x}}), "twice");
  expect_usage_error(session->run(std::vector<NamedTensor>{{"x", x}, {"w", x}}), "no input 'w'");
  expect_usage_error(session->run(std::vector<NamedTensor>{}), "missing");
  expect_usage_error(session->run(std::vector<NamedTensor>{{"x", Tensor()}}), "missing");
  EXPECT_TRUE(session->run(std::vector<NamedTensor>{{"x", x}}));
}

TEST(Session, SizesOutsideTheRangeOfThePlan) {
  Message bytes = model(graph({{node("Relu", {"x"}, {"y"})}, {value("x", {"N", 3})}, {any_shape("y")}, {}}));
  auto imported = onnx::import_bytes(bytes.bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  auto built = compile_graph(std::move(imported->graph), {});
  ASSERT_TRUE(built);
  auto plan = std::make_shared<Plan>(std::move(*built));
  plan->meta["shapes_min"] = "x:2x3,gone:1";
  plan->meta["shapes_max"] = "x:5x3,gone:2";
  auto session = Session::create(plan);
  ASSERT_TRUE(session) << session.error().message;
  auto run = [&](int64_t rows) { return (*session)->run(std::vector<NamedTensor>{{"x", filled({rows, 3}, 1)}}); };
  expect_usage_error(run(1), "dimension 0 of input 'x' is 1; the plan was built for 2 to 5");
  EXPECT_TRUE(run(2));
  EXPECT_TRUE(run(5));
  expect_usage_error(run(6), "--max-shapes");
  EXPECT_TRUE(run(5));
  const Shape wrong[] = {{6, 3}}, right[] = {{4, 3}};
  EXPECT_EQ((*session)->prepare(wrong).error().code, ErrorCode::kUsage);
  EXPECT_TRUE((*session)->prepare(right));
  // Ranges that make no sense bound nothing or are refused; they come from a file.
  for (const char* odd : {"x:", "x:-1x3", "x:rowsx3", "y:1x1"}) {
    plan->meta["shapes_max"] = odd;
    ASSERT_TRUE(Session::create(plan)) << odd;
  }
  plan->meta["shapes_max"] = "x";
  EXPECT_EQ(Session::create(plan).error().code, ErrorCode::kPlanIncompatible);
}

TEST(Session, WrongShapesAndTypes) {
  auto session = session_of(dense_model());
  auto run = [&](const Tensor& x) { return session->run(std::vector<NamedTensor>{{"x", x}}); };
  expect_usage_error(run(filled({3, 2}, 1)), "2x3");
  expect_usage_error(run(filled({6}, 1)), "2x3");
  expect_usage_error(run(filled({}, 1)), "2x3");
  expect_usage_error(run(filled({2, 3, 1}, 1)), "2x3");
  expect_usage_error(run(filled({0, 3}, 1)), "2x3");
  expect_usage_error(run(Tensor(DType::kFloat64, {2, 3})), "float64");
  expect_usage_error(run(Tensor(DType::kInt32, {2, 3})), "int32");
  expect_usage_error(run(Tensor::view(DType::kFloat32, {2, 3}, nullptr)), "no data");
  float number = 0;
  expect_usage_error(run(Tensor::view(DType::kFloat32, {-2, -3}, &number)), "impossible");
  expect_usage_error(run(Tensor::view(DType::kFloat32, {int64_t{1} << 62, 8}, &number)), "impossible");
  expect_usage_error(session->run_in_order({}), "0 were given");
  EXPECT_TRUE(run(filled({2, 3}, 1)));
}

TEST(Session, SymbolicShapes) {
  auto session = session_of(conv_model());
  auto run = [&](const Shape& shape) { return session->run_in_order(std::vector<Tensor>{filled(shape, 1)}); };
  for (const Shape& shape : {Shape{1, 3, 8, 8}, Shape{2, 3, 5, 9}, Shape{1, 3, 8, 8}, Shape{1, 3, 2, 2}}) {
    auto outputs = run(shape);
    ASSERT_TRUE(outputs) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].shape(), (Shape{shape[0], 3, shape[2] - 1, shape[3] - 1}));
  }
  EXPECT_FALSE(run({1, 4, 8, 8}));
  EXPECT_FALSE(run({1, 3, 0, 0}));
  auto empty = run({0, 3, 8, 8});
  if (empty) {
    EXPECT_EQ((*empty)[0].elements(), 0);
  }
  Tensor huge = Tensor::view(DType::kFloat32, {1, 3, 1 << 20, 1 << 20}, filled({1}, 0).raw());
  EXPECT_FALSE(session->run_in_order(std::vector<Tensor>{huge}));
  ASSERT_TRUE(run({1, 3, 8, 8}));
}

TEST(Session, SymbolsThatDoNotFitTogether) {
  auto session = session_of(
      model(graph({{node("Add", {"a", "b"}, {"y"})}, {value("a", {"A"}), value("b", {"B"})}, {any_shape("y")}, {}})));
  auto run = [&](int64_t a, int64_t b) {
    return session->run_in_order(std::vector<Tensor>{filled({a}, 1), filled({b}, 2)});
  };
  auto broadcast = run(1, 4);
  ASSERT_TRUE(broadcast) << broadcast.error().message;
  EXPECT_EQ((*broadcast)[0].shape(), (Shape{4}));
  EXPECT_FALSE(run(3, 2));
  EXPECT_FALSE(run(2, 3));
  EXPECT_TRUE(run(4, 4));
  auto same = session_of(
      model(graph({{node("Add", {"a", "b"}, {"y"})}, {value("a", {"A"}), value("b", {"A"})}, {any_shape("y")}, {}})));
  EXPECT_FALSE(same->run_in_order(std::vector<Tensor>{filled({3}, 1), filled({2}, 1)}));
}

TEST(Session, NanAndInfinityPassThrough) {
  auto session = session_of(model(graph(
      {{node("Mul", {"x", "x"}, {"a"}), node("Add", {"a", "x"}, {"y"})}, {value("x", {5})}, {value("y", {5})}, {}})));
  Tensor x = filled({5}, 2);
  x.data<float>()[1] = NAN;
  x.data<float>()[3] = INFINITY;
  auto outputs = session->run_in_order(std::vector<Tensor>{x});
  ASSERT_TRUE(outputs);
  const float* y = (*outputs)[0].data<float>();
  EXPECT_EQ(y[0], 6);
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_EQ(y[2], 6);
  EXPECT_EQ(y[3], INFINITY);
  auto conv = session_of(conv_model());
  Tensor image = filled({1, 3, 6, 6}, 1);
  image.data<float>()[0] = NAN;
  auto picture = conv->run_in_order(std::vector<Tensor>{image});
  ASSERT_TRUE(picture);
  EXPECT_TRUE(std::isnan((*picture)[0].data<float>()[0]));
}

TEST(Session, ControlFlowAndDataDependentShapes) {
  auto session = session_of(control_model());
  for (bool flag : {true, false, true}) {
    Tensor x = filled({4}, 0);
    x.data<float>()[2] = 3;
    Tensor c(DType::kBool, {});
    c.data<bool>()[0] = flag;
    auto outputs = session->run_in_order(std::vector<Tensor>{x, c});
    ASSERT_TRUE(outputs) << outputs.error().message;
    EXPECT_EQ((*outputs)[0].data<float>()[2], flag ? 4 : 9);
    EXPECT_EQ((*outputs)[1].shape(), (Shape{1, flag ? 4 : 1}));
  }
}

// x [R, C] -> 2 x + (0 1 2 ...) along the columns: the grid is made of x's shape by steps that only the reference has.
Message grid_model() {
  std::vector<int64_t> one = {1}, zero = {0};
  return model(graph({{node("Shape", {"x"}, {"s"}), node("Gather", {"s", "one"}, {"columns"}),
                       node("Range", {"zero", "columns", "one"}, {"range"}),
                       node("Cast", {"range"}, {"grid"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
                       node("Expand", {"grid", "s"}, {"full"}), node("Add", {"x", "x"}, {"twice"}),
                       node("Add", {"twice", "full"}, {"y"})},
                      {value("x", {"R", "C"})},
                      {any_shape("y")},
                      {tensor_of("one", DType::kInt64, {}, one), tensor_of("zero", DType::kInt64, {}, zero)}}));
}

// x [2, C], n -> the first n columns of x: how many is known while running only.
Message columns_model() {
  std::vector<int64_t> zero = {0}, one = {1};
  return model(graph({{node("Slice", {"x", "zero", "n", "one"}, {"part"}), node("Relu", {"part"}, {"y"})},
                      {value("x", {2, "C"}), value("n", {1}, DType::kInt64)},
                      {any_shape("y")},
                      {tensor_of("one", DType::kInt64, {1}, one), tensor_of("zero", DType::kInt64, {1}, zero)}}));
}

Tensor count_of(int64_t count) { return Tensor::from<int64_t>(DType::kInt64, {1}, std::vector<int64_t>{count}); }

void expect_no_allocation(const Message& model, const std::vector<NamedTensor>& inputs, int threads) {
  auto session = session_of(model, threads);
  ASSERT_TRUE(session->run(inputs));
  int64_t before = allocation_count();
  for (int i = 0; i < 3; ++i) {
    auto outputs = session->run(inputs);
    ASSERT_TRUE(outputs) << outputs.error().message;
  }
  EXPECT_EQ(allocation_count() - before, 0);
}

TEST(Session, RunAllocatesNothing) {
  if (!can_count_allocations()) GTEST_SKIP() << "sanitizers allocate by themselves";
  for (int threads : {1, 2}) {
    Tensor x = filled({2, 3}, 1), image = filled({1, 3, 16, 16}, 1);
    expect_no_allocation(dense_model(), {{"x", x}}, threads);
    expect_no_allocation(conv_model(), {{"x", image}}, threads);
    expect_no_allocation(grid_model(), {{"x", filled({2, 5}, 1)}}, threads);
    expect_no_allocation(columns_model(), {{"x", filled({2, 5}, 1)}, {"n", count_of(3)}}, threads);
  }
}

TEST(Session, SizesThatDependOnDataFollowThem) {
  auto session = session_of(columns_model());
  for (auto [columns, count] :
       std::vector<std::pair<int64_t, int64_t>>{{9, 3}, {9, 3}, {9, 7}, {9, 2}, {4, 2}, {9, 2}}) {
    for (float value : {1.0F, 2.0F}) {
      auto outputs = session->run_in_order(std::vector<Tensor>{filled({2, columns}, value), count_of(count)});
      ASSERT_TRUE(outputs) << outputs.error().message;
      ASSERT_EQ((*outputs)[0].shape(), (Shape{2, count}));
      for (int64_t i = 0; i < 2 * count; ++i) ASSERT_EQ((*outputs)[0].data<float>()[i], value);
    }
  }
}

TEST(Session, WhatDependsOnShapesOnlyFollowsThem) {
  auto session = session_of(grid_model());
  for (int64_t columns : {4, 4, 7, 7, 2, 4}) {
    for (float value : {1.0F, 2.0F}) {
      auto outputs = session->run_in_order(std::vector<Tensor>{filled({3, columns}, value)});
      ASSERT_TRUE(outputs) << outputs.error().message;
      ASSERT_EQ((*outputs)[0].shape(), (Shape{3, columns}));
      for (int64_t i = 0; i < 3 * columns; ++i) {
        ASSERT_EQ((*outputs)[0].data<float>()[i], 2 * value + static_cast<float>(i % columns)) << columns << " " << i;
      }
    }
  }
}

// A loop that does not run gives its input back; what comes later must not write over it.
TEST(Session, LoopWithoutIterationsKeepsItsState) {
  Message body =
      graph({{node("Identity", {"c"}, {"c1"}), node("Concat", {"s", "s"}, {"s1"}, {attribute("axis", int64_t{0})})},
             {value("i", {}, DType::kInt64), value("c", {}, DType::kBool), value("s", {"S"})},
             {value("c1", {}, DType::kBool), value("s1", {"T"})},
             {}});
  auto session = session_of(model(
      graph({{node("Mul", {"x", "x"}, {"a"}), node("Loop", {"m", "", "a"}, {"b"}, {graph_attribute("body", body)}),
              node("Exp", {"x"}, {"e"}), node("Sin", {"e"}, {"f"}), node("Exp", {"f"}, {"g"})},
             {value("x", {8}), value("m", {}, DType::kInt64)},
             {any_shape("b"), any_shape("g")},
             {}})));
  for (int64_t trips : {0, 1, 0}) {
    Tensor m(DType::kInt64, {});
    m.data<int64_t>()[0] = trips;
    auto outputs = session->run_in_order(std::vector<Tensor>{filled({8}, 3), m});
    ASSERT_TRUE(outputs) << outputs.error().message;
    ASSERT_EQ((*outputs)[0].elements(), 8 << trips);
    for (int i = 0; i < 8; ++i) EXPECT_EQ((*outputs)[0].data<float>()[i], 9);
  }
}

TEST(Session, BadOptions) {
  auto plan = plan_of(dense_model());
  EXPECT_FALSE(Session::create(nullptr));
  SessionOptions options;
  options.threads = -1;
  EXPECT_FALSE(Session::create(plan, options));
  options.threads = 100000;
  EXPECT_FALSE(Session::create(plan, options));
}

}  // namespace
}  // namespace hussar
