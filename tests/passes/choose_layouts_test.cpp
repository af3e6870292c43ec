// Layouts: what runs channels-last, and what lies between without a conversion.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/passes/pass_case.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Value* conv(GraphCase& test, Value* x, int64_t channels, int64_t filters) {
  return test.make("Conv", {x, test.weights({filters, channels, 3, 1})});
}

TEST(ChooseLayouts, ConvertsAtTheEdgesOnly) {
  GraphCase test;
  Value* a = conv(test, test.input({1, 4, 9, 5}), 4, 6);
  test.output(test.make("Abs", {conv(test, a, 6, 3)}));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(test.count("hussar.Reformat"), 2);
}

// The pixels may be reshaped and sliced on the way; what lies behind stays channels-last.
TEST(ChooseLayouts, ViewsAndSlicesThatKeepTheChannelsFollow) {
  GraphCase test;
  Value* a = conv(test, test.input({2, 4, 9, 1}), 4, 6);
  Value* line = test.make("Squeeze", {a, test.integers({3})});
  Value* part = test.make("Slice", {line, test.integers({1}), test.integers({6}), test.integers({2})});
  Value* back = test.make("Unsqueeze", {part, test.integers({2})});
  Value* folded = test.reshape(back, {2, 6, 5, 1});
  test.output(test.make("GlobalMaxPool", {conv(test, folded, 6, 5)}));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(test.count("hussar.Reformat"), 2);
  EXPECT_EQ(line->layout, Layout::kChannelsLast);
  EXPECT_EQ(folded->layout, Layout::kChannelsLast);
}

TEST(ChooseLayouts, PaddedImagesStayAsTheyAre) {
  GraphCase test;
  Value* a = conv(test, test.input({1, 4, 9, 5}), 4, 6);
  Value* padded = test.make("Pad", {a, test.integers({0, 1, 1, 2, 0, 1, 0, 1})}, with({{"mode", std::string("edge")}}));
  test.output(test.make("Abs", {conv(test, padded, 8, 3)}));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(padded->layout, Layout::kChannelsLast);
  EXPECT_EQ(test.count("hussar.Reformat"), 2) << test.graph.to_string();
}

// Sums whose shapes are not known to be equal are no part of a program.
TEST(ChooseLayouts, SumsThatMayNeedBroadcastingFollow) {
  GraphCase test;
  Value* a = conv(test, test.input({1, 4, Dim::symbol("H") + Dim(1), 1}), 4, 6);
  Value* b = conv(test, test.input({1, 4, 3, 1}), 4, 6);
  Value* sum = test.make("Add", {a, b});
  test.output(test.make("GlobalMaxPool", {sum}));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(sum->layout, Layout::kChannelsLast);
  EXPECT_EQ(test.count("hussar.Reformat"), 3);
}

TEST(ChooseLayouts, ViewsThatMixChannelsDoNotFollow) {
  GraphCase test;
  Value* a = conv(test, test.input({1, 4, 9, 1}), 4, 6);
  Value* mixed = test.reshape(a, {1, 3, 14, 1});
  test.output(test.make("GlobalMaxPool", {mixed}));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(mixed->layout, Layout::kPlain);
}

// Neither to channels-last nor from it, but for an axis of 1.
TEST(ChooseLayouts, TransposesThatMoveOnlyAxesOfOneAreFree) {
  GraphCase test;
  Value* x = test.transpose(test.input({2, 9, 4, 1}), {0, 2, 1, 3});
  Value* y = test.transpose(conv(test, x, 4, 6), {0, 2, 1, 3});
  test.output(test.make("Softmax", {y}, with({{"axis", int64_t{2}}})));
  EXPECT_GT(test.run("choose_layouts"), 0);
  EXPECT_EQ(test.count("hussar.Reformat"), 0);
  EXPECT_EQ(x->layout, Layout::kChannelsLast);
  EXPECT_EQ(y->layout, Layout::kPlain);
}

// As plans: views where they can be, copies where not; the numbers of the plan of reference evaluators.
TEST(ChooseLayouts, PlansWithViewsOfPixelsComputeTheSame) {
  std::vector<float> weights(6 * 4 * 3), more(5 * 6 * 3);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.1F * static_cast<float>(static_cast<int>(i % 13) - 6);
  for (size_t i = 0; i < more.size(); ++i) more[i] = 0.1F * static_cast<float>(static_cast<int>(i % 11) - 5);
  const std::vector<int64_t> three = {3}, two = {2}, shape = {0, 6, 2, 3}, first = {1}, last = {6};
  Message bytes = model(
      graph({{node("Transpose", {"x"}, {"t"}, {attribute("perm", std::vector<int64_t>{0, 2, 1, 3})}),
              node("Conv", {"t", "w1"}, {"a"}), node("Squeeze", {"a", "three"}, {"b"}), node("Relu", {"b"}, {"c"}),
              node("Unsqueeze", {"c", "two"}, {"d"}), node("Unsqueeze", {"b", "three"}, {"e"}),
              node("Reshape", {"e", "shape"}, {"f"}), node("Slice", {"c", "first", "last", "two"}, {"g"}),
              node("GlobalMaxPool", {"g"}, {"z"}), node("Conv", {"d", "w2"}, {"y"}),
              node("MaxPool", {"f"}, {"v"}, {attribute("kernel_shape", std::vector<int64_t>{2, 2})})},
             {value("x", {"N", 8, 4, 1})},
             {any_shape("y"), any_shape("z"), any_shape("v")},
             {tensor_of("w1", DType::kFloat32, {6, 4, 3, 1}, weights),
              tensor_of("w2", DType::kFloat32, {5, 6, 1, 3}, more), tensor_of("three", DType::kInt64, {1}, three),
              tensor_of("two", DType::kInt64, {1}, two), tensor_of("shape", DType::kInt64, {4}, shape),
              tensor_of("first", DType::kInt64, {1}, first), tensor_of("last", DType::kInt64, {1}, last)}}));
  CompileOptions options;
  options.threads = 2;
  auto plan = build(bytes.bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  options.reference_only = true;
  auto reference = build(bytes.bytes(), options);
  ASSERT_TRUE(reference) << reference.error().message;
  auto inputs = make_inputs(**plan, 1, 3, 1000);
  ASSERT_TRUE(inputs);
  std::vector<std::vector<Tensor>> results;
  for (const auto& each : {*plan, *reference}) {
    auto session = Session::create(each);
    ASSERT_TRUE(session) << session.error().message;
    auto outputs = (*session)->run_in_order(*inputs);
    ASSERT_TRUE(outputs) << outputs.error().message;
    std::vector<Tensor> kept;
    for (const Tensor& output : *outputs) {
      Tensor copy(output.dtype(), output.shape());
      std::copy(output.raw(), output.raw() + output.bytes(), copy.raw());
      kept.push_back(copy);
    }
    results.push_back(std::move(kept));
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    ASSERT_EQ(results[0][i].shape(), results[1][i].shape());
    for (int64_t k = 0; k < results[0][i].elements(); ++k) {
      ASSERT_NEAR(results[0][i].data<float>()[k], results[1][i].data<float>()[k], 1e-5) << i << ' ' << k;
    }
  }
}

}  // namespace
}  // namespace hussar
