// Plans that are built again: every packing is undone, and the new plan computes what the old one did.
#include "compile/thaw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/isa.h"
#include "runtime/session.h"
#include "tactics/tactic.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::vector<float> random_numbers(size_t count) {
  uint32_t state = 7;
  std::vector<float> numbers(count);
  for (float& number : numbers) {
    state = state * 1664525 + 1013904223;
    number = static_cast<float>(static_cast<int32_t>(state)) / 2147483648.0F;
  }
  return numbers;
}

void expect_unpacked(const Node& node) {
  for (const auto& [name, attribute] : node.attributes.all()) EXPECT_NE(name.substr(0, 7), "hussar_") << name;
}

struct PackingCase {
  const char* kernel;
  const char* op;
  Shape weights;
  Dims output;
  double tolerance;  // of the largest weight; 0: the same bits
  std::vector<std::pair<const char*, Attribute>> attributes = {};
};

void expect_unpacks(const PackingCase& test) {
  SCOPED_TRACE(std::string(test.kernel) + " " + test.weights.to_string());
  const Tactic* tactic = nullptr;
  for (const Tactic* candidate : all_tactics()) tactic = candidate->kernel == test.kernel ? candidate : tactic;
  ASSERT_NE(tactic, nullptr);
  Graph graph;
  auto numbers = random_numbers(static_cast<size_t>(test.weights.elements()));
  Tensor weights = Tensor::from<float>(DType::kFloat32, test.weights, numbers);
  Node* node = graph.add_node(test.op, "n", {graph.add_value("x"), graph.add_constant("w", weights)},
                              {graph.add_value("y", DType::kFloat32, test.output)});
  for (const auto& [name, attribute] : test.attributes) node->attributes.set(name, attribute);
  Packing packing(graph, *node, {});
  ASSERT_TRUE(tactic->pack(packing));
  EXPECT_EQ(node->inputs[1]->name, "w");
  auto status = tactic->unpack(packing);
  ASSERT_TRUE(status) << status.error().message;
  const Tensor& back = *node->inputs[1]->constant;
  ASSERT_EQ(back.shape(), test.weights);
  EXPECT_EQ(node->inputs[1]->name, "w");
  // What replace() remembers is for thaw to forget.
  node->attributes.erase("hussar_packed_1");
  expect_unpacked(*node);
  if (test.tolerance == 0) {
    EXPECT_EQ(std::memcmp(back.raw(), weights.raw(), weights.bytes()), 0);
    return;
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    ASSERT_NEAR(back.data<float>()[i], numbers[i], test.tolerance) << i;
  }
}

TEST(PassThaw, EveryPackingCanBeUndone) {
  for (const Tactic* tactic : all_tactics()) EXPECT_EQ(tactic->pack == nullptr, tactic->unpack == nullptr);
  const double split = std::ldexp(1, -16), half = std::ldexp(1, -12);
  const std::vector<std::pair<const char*, Attribute>> grouped = {{"group", int64_t{3}}};
  for (const char* kernel : {"conv_tile", "conv_fp16", "conv_amx"}) {
    const double tolerance = kernel[5] == 'a' ? split : kernel[5] == 'f' ? half : 0;
    expect_unpacks({kernel, "Conv", {51, 5, 3, 2}, {1, 51, 4, 4}, tolerance, grouped});
    expect_unpacks({kernel, "Conv", {70, 33, 5}, {1, 70, 4}, tolerance});
    // More elements than one probe can number.
    expect_unpacks({kernel, "Conv", {130, 70, 3, 3}, {1, 130, 4, 4}, tolerance});
  }
  expect_unpacks({"conv_depthwise", "Conv", {21, 1, 3, 5}, {1, 21, 4, 4}, 0, {{"group", int64_t{21}}}});
  for (int64_t filters : {5, 12}) {
    expect_unpacks(
        {"conv_grouped", "Conv", {3 * filters, 7, 3, 2}, {1, 3 * filters, 4, 4}, 0, {{"group", int64_t{3}}}});
  }
  for (const Ints& strides : {Ints{1, 1}, Ints{2, 3}}) {
    expect_unpacks({"conv_transpose_tile",
                    "ConvTranspose",
                    {9, 17, 4, 3},
                    {1, 51, 8, 8},
                    0,
                    {{"group", int64_t{3}}, {"strides", strides}}});
  }
  expect_unpacks({"conv_transpose_patch", "ConvTranspose", {9, 17, 4, 3}, {1, 17, 8, 9}, 0, {{"strides", Ints{4, 3}}}});
  for (const char* kernel : {"matmul_tile", "matmul_fp16", "matmul_amx"}) {
    const double tolerance = kernel[7] == 'a' ? split : kernel[7] == 'f' ? half : 0;
    expect_unpacks({kernel, "MatMul", {37, 50}, {2, 50}, tolerance});
    expect_unpacks({kernel, "com.microsoft.FusedMatMul", {50, 37}, {2, 50}, tolerance, {{"transB", int64_t{1}}}});
  }
  for (const char* kernel : {"conv_winograd2", "conv_winograd4"}) {
    expect_unpacks({kernel, "Conv", {35, 19, 3, 3}, {1, 35, 4, 4}, 1e-6});
  }
}

// x -> Conv, Conv -> Concat -> Split -> one part by ConvTranspose, one by a sigmoid times itself.
Message sliced_model() {
  auto weights = [](const char* name, std::vector<int64_t> dims) {
    size_t count = 1;
    for (int64_t dim : dims) count *= static_cast<size_t>(dim);
    return tensor_of(name, DType::kFloat32, dims, random_numbers(count));
  };
  return model(
      graph({{node("Conv", {"x", "w1"}, {"a"}), node("Conv", {"x", "w2"}, {"b"}),
              node("Concat", {"a", "b"}, {"c"}, {attribute("axis", int64_t{1})}), node("Conv", {"c", "w3"}, {"d"}),
              node("Split", {"d"}, {"e", "f"}, {attribute("axis", int64_t{1}), attribute("num_outputs", 2)}),
              node("ConvTranspose", {"e", "w4"}, {"g"}, {attribute("strides", std::vector<int64_t>{2, 2})}),
              node("Sigmoid", {"f"}, {"s"}), node("Mul", {"f", "s"}, {"t"}), node("Conv", {"t", "w5"}, {"h"})},
             {value("x", {"N", 4, 8, 8})},
             {any_shape("g"), any_shape("h")},
             {weights("w1", {5, 4, 1, 1}), weights("w2", {7, 4, 1, 1}), weights("w3", {8, 12, 3, 3}),
              weights("w4", {4, 3, 2, 2}), weights("w5", {3, 4, 1, 1})}}));
}

// x -> Conv -> Split -> one part by a Conv -> Concat of both parts and it -> Conv, as YOLO has it.
Message cross_stage_model() {
  auto weights = [](const char* name, std::vector<int64_t> dims) {
    size_t count = 1;
    for (int64_t dim : dims) count *= static_cast<size_t>(dim);
    return tensor_of(name, DType::kFloat32, dims, random_numbers(count));
  };
  return model(
      graph({{node("Conv", {"x", "w1"}, {"a"}),
              node("Split", {"a"}, {"b", "c"}, {attribute("axis", int64_t{1}), attribute("num_outputs", 2)}),
              node("Conv", {"c", "w2"}, {"d"}), node("Concat", {"b", "c", "d"}, {"e"}, {attribute("axis", int64_t{1})}),
              node("Conv", {"e", "w3"}, {"f"})},
             {value("x", {"N", 4, 8, 8})},
             {any_shape("f")},
             {weights("w1", {10, 4, 1, 1}), weights("w2", {7, 5, 1, 1}), weights("w3", {3, 17, 1, 1})}}));
}

// A block with an expansion, a depthwise convolution, a projection, and their activations.
Message block_model() {
  auto weights = [](const char* name, std::vector<int64_t> dims) {
    size_t count = 1;
    for (int64_t dim : dims) count *= static_cast<size_t>(dim);
    return tensor_of(name, DType::kFloat32, dims, random_numbers(count));
  };
  const std::vector<int64_t> ones(4, 1);
  return model(graph({{node("Conv", {"x", "w1", "b1"}, {"a"}), node("Relu", {"a"}, {"b"}),
                       node("Conv", {"b", "w2"}, {"c"}, {attribute("group", int64_t{21}), attribute("pads", ones)}),
                       node("HardSwish", {"c"}, {"d"}), node("Conv", {"d", "w3", "b3"}, {"e"}),
                       node("Add", {"e", "x"}, {"f"}), node("Relu", {"f"}, {"g"})},
                      {value("x", {"N", 4, 9, 8})},
                      {any_shape("g")},
                      {weights("w1", {21, 4, 1, 1}), weights("b1", {21}), weights("w2", {21, 1, 3, 3}),
                       weights("w3", {4, 21, 1, 1}), weights("b3", {4})}}));
}

std::vector<Tensor> outputs_of(const std::shared_ptr<const Plan>& plan) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session) << session.error().message;
  auto outputs = (*session)->run_in_order(*make_inputs(*plan, 3, 6, 1 << 20));
  EXPECT_TRUE(outputs) << outputs.error().message;
  std::vector<Tensor> list;
  for (const Tensor& output : *outputs) list.push_back(output.clone());
  return list;
}

std::shared_ptr<const Plan> rebuilt(const Plan& plan, const CompileOptions& options) {
  auto next = compile_plan(plan, options);
  EXPECT_TRUE(next) << next.error().message;
  auto loaded = reload(*next);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return *loaded;
}

// The plan without a copy gives what single steps give, also when it is built again.
TEST(Thaw, PartsOfPartsStayWhereTheyAre) {
  CompileOptions options, apart;
  options.threads = apart.threads = 1;
  apart.disabled_passes = {"slice_channels"};
  auto plan = *build(cross_stage_model().bytes(), options), other = *build(cross_stage_model().bytes(), apart);
  auto again = rebuilt(*plan, options);
  for (const auto& each : {plan, again}) {
    for (const PlanStep& step : each->graph.steps) {
      const bool is_view = step.kernel == "view" || (step.op != "Concat" && step.op != "Split");
      EXPECT_TRUE(is_view) << step.name;
    }
    EXPECT_EQ(std::memcmp(outputs_of(each)[0].raw(), outputs_of(other)[0].raw(), outputs_of(other)[0].bytes()), 0);
  }
}

TEST(Thaw, InvertedResidualsAreUnpacked) {
  CompileOptions options, apart;
  options.isa = apart.isa = std::min(static_cast<int>(cpu::active_isa()), static_cast<int>(cpu::Isa::kAvx512));
  apart.disabled_passes = {"fuse_inverted_residual"};
  auto plan = *build(block_model().bytes(), options), other = *build(block_model().bytes(), apart);
  auto is_block = [](const PlanStep& step) { return step.kernel == "inverted_residual"; };
  EXPECT_EQ(std::count_if(plan->graph.steps.begin(), plan->graph.steps.end(), is_block), 1);
  EXPECT_EQ(std::count_if(other->graph.steps.begin(), other->graph.steps.end(), is_block), 0);
  for (const Graph graph = *thaw(*plan); const auto& node : graph.nodes()) {
    if (node->op != "hussar.InvertedResidual") continue;
    expect_unpacked(*node);
    const Shape shapes[] = {{21, 1, 3, 3}, {21, 4, 1, 1}, {4, 21, 1, 1}};
    for (size_t i = 0; i < 3; ++i) {
      const Tensor& filter = *node->inputs[2 * i + 1]->constant;
      ASSERT_EQ(filter.shape(), shapes[i]);
      auto expected = random_numbers(static_cast<size_t>(filter.elements()));
      EXPECT_EQ(std::memcmp(filter.raw(), expected.data(), filter.bytes()), 0) << i;
    }
  }
  EXPECT_EQ(std::memcmp(outputs_of(plan)[0].raw(), outputs_of(other)[0].raw(), outputs_of(plan)[0].bytes()), 0);
}

TEST(Thaw, RebuiltPlansComputeTheSame) {
  CompileOptions options, scalar;
  options.threads = scalar.threads = 1;
  options.isa = std::min(static_cast<int>(cpu::active_isa()), static_cast<int>(cpu::Isa::kAvx512));
  scalar.isa = 0;
  for (const Message& message :
       {dense_model(), conv_model(), control_model(), sliced_model(), cross_stage_model(), block_model()}) {
    auto first = *build(message.bytes(), options);
    auto second = rebuilt(*first, options), third = rebuilt(*second, options), other = rebuilt(*first, scalar);
    ASSERT_EQ(first->graph.steps.size(), second->graph.steps.size());
    for (const Graph graph = *thaw(*first); const auto& node : graph.nodes()) expect_unpacked(*node);
    bool exact = true;
    for (size_t i = 0; i < first->graph.steps.size(); ++i) {
      EXPECT_EQ(first->graph.steps[i].kernel, second->graph.steps[i].kernel);
      exact = exact && first->graph.steps[i].kernel.find("winograd") == std::string::npos;
    }
    if (exact) {
      EXPECT_EQ(encode_plan(*second), encode_plan(*third));
    }
    EXPECT_EQ(other->meta.at("target"), "cpu:scalar");
    auto expected = outputs_of(first), same = outputs_of(second), near = outputs_of(other);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(expected[i].shape(), near[i].shape());
      if (exact) {
        EXPECT_EQ(std::memcmp(expected[i].raw(), same[i].raw(), expected[i].bytes()), 0);
      }
      for (int64_t k = 0; expected[i].dtype() == DType::kFloat32 && k < expected[i].elements(); ++k) {
        ASSERT_NEAR(expected[i].data<float>()[k], same[i].data<float>()[k], 1e-5);
        ASSERT_NEAR(expected[i].data<float>()[k], near[i].data<float>()[k], 1e-4);
      }
    }
  }
}

TEST(Thaw, WhatNeedsTheModelIsRefused) {
  auto plan = *build(dense_model().bytes());
  CompileOptions options;
  options.shapes["x"] = {Dim(2), Dim(3)};
  EXPECT_EQ(compile_plan(*plan, options).error().code, ErrorCode::kUsage);
  options = {};
  options.disabled_passes = {"all"};
  EXPECT_EQ(compile_plan(*plan, options).error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace hussar
