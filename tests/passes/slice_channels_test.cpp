// Joining and cutting channels without copies: in the plan such steps are views.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Message weights(const char* name, int64_t outputs, int64_t inputs) {
  std::vector<float> values(static_cast<size_t>(outputs * inputs));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.03F * static_cast<float>(static_cast<int>(i * 7 % 31) - 15);
  return tensor_of(name, DType::kFloat32, {outputs, inputs, 1, 1}, values);
}

struct Copies {
  int views = 0, copies = 0;  // steps of Concat and Split
};

Copies copies_of(const Plan& plan) {
  Copies result;
  for (const PlanStep& step : plan.graph.steps) {
    if (step.op != "Concat" && step.op != "Split") continue;
    ++(step.kernel == "view" ? result.views : result.copies);
  }
  return result;
}

// Expects so many views with the pass, none without, and the same outputs.
void expect_views(const Message& model, int views, int copies) {
  CompileOptions options;
  options.threads = 1;
  auto with = build(model.bytes(), options);
  options.disabled_passes = {"slice_channels"};
  auto without = build(model.bytes(), options);
  ASSERT_TRUE(with) << with.error().message;
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(copies_of(**with).views, views);
  EXPECT_EQ(copies_of(**with).copies, copies);
  EXPECT_EQ(copies_of(**without).views, 0);
  EXPECT_EQ(copies_of(**without).copies, views + copies);
  auto inputs = make_inputs(**with, 5, 6, 1 << 16);
  ASSERT_TRUE(inputs);
  auto a = Session::create(*with), b = Session::create(*without);
  ASSERT_TRUE(a) << a.error().message;
  ASSERT_TRUE(b) << b.error().message;
  auto left = (*a)->run_in_order(*inputs), right = (*b)->run_in_order(*inputs);
  ASSERT_TRUE(left) << left.error().message;
  ASSERT_TRUE(right) << right.error().message;
  ASSERT_EQ((*left)[0].shape(), (*right)[0].shape());
  const float* values = (*left)[0].data<float>();
  EXPECT_TRUE(std::equal(values, values + (*left)[0].elements(), (*right)[0].data<float>()));
}

TEST(PassSliceChannels, JoinedBranches) {
  const Message channels = attribute("axis", int64_t{1});
  expect_views(
      model(graph({{node("Conv", {"x", "w1"}, {"a"}), node("Conv", {"x", "w2"}, {"b"}), node("Relu", {"a"}, {"c"}),
                    node("Concat", {"c", "b"}, {"d"}, {channels}), node("Conv", {"d", "w3"}, {"y"})},
                   {value("x", {"N", 4, "H", 8})},
                   {any_shape("y")},
                   {weights("w1", 8, 4), weights("w2", 4, 4), weights("w3", 6, 12)}})),
      1, 0);
}

TEST(PassSliceChannels, PartsOfASplit) {
  const Message channels = attribute("axis", int64_t{1});
  expect_views(
      model(graph({{node("Conv", {"x", "w1"}, {"a"}), node("Split", {"a"}, {"b", "c"}, {channels}),
                    node("Conv", {"b", "w2"}, {"d"}), node("Conv", {"c", "w2"}, {"e"}), node("Add", {"d", "e"}, {"y"})},
                   {value("x", {1, 4, 8, 8})},
                   {any_shape("y")},
                   {weights("w1", 16, 4), weights("w2", 4, 8)}})),
      1, 0);
}

// The cross-stage blocks of YOLO: the halves of a split, and what is made of one, are joined.
TEST(PassSliceChannels, PartsThatAreJoinedAgain) {
  const Message channels = attribute("axis", int64_t{1});
  expect_views(model(graph({{node("Conv", {"x", "w1"}, {"a"}), node("Split", {"a"}, {"b", "c"}, {channels}),
                             node("Conv", {"c", "w2"}, {"d"}), node("Concat", {"b", "c", "d"}, {"e"}, {channels}),
                             node("Conv", {"e", "w3"}, {"y"})},
                            {value("x", {"N", 4, 8, 8})},
                            {any_shape("y")},
                            {weights("w1", 16, 4), weights("w2", 8, 8), weights("w3", 4, 24)}})),
               2, 0);
}

// What is joined twice, comes from outside, or is joined along the pixels is copied.
TEST(PassSliceChannels, OthersAreCopied) {
  const Message channels = attribute("axis", int64_t{1}), rows = attribute("axis", int64_t{2});
  expect_views(model(graph({{node("Conv", {"x", "w1"}, {"a"}), node("Concat", {"a", "a"}, {"b"}, {channels}),
                             node("Concat", {"b", "b"}, {"c"}, {rows}), node("Conv", {"c", "w2"}, {"y"})},
                            {value("x", {"N", 4, 8, 8})},
                            {any_shape("y")},
                            {weights("w1", 8, 4), weights("w2", 4, 16)}})),
               0, 2);
}

}  // namespace
}  // namespace hussar
