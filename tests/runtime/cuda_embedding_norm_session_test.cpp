// Encoders on the test device whose embeddings are one step, beside the same ones in several.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compile/compile.h"
#include "compile/quantization.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"

namespace hussar::tests {
namespace {

const Message& encoder() {
  static const Message made = [] {
    EncoderForm form;
    form.width = 64;
    form.inner = 96;
    form.words = 1100;  // enough for a table of bytes
    form.layers = 1;
    return encoder_model(form);
  }();
  return made;
}

std::shared_ptr<const Plan> plan_of(const CompileOptions& options) {
  auto plan = build(encoder().bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

size_t count(const Plan& plan, std::string_view op) {
  return static_cast<size_t>(std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                                           [&](const PlanStep& step) { return step.op == op; }));
}

std::vector<float> states(const std::shared_ptr<const Plan>& plan, int64_t lowest, int64_t highest) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session) << session.error().message;
  if (!session) return {};
  std::vector<Tensor> inputs;
  uint32_t state = 7;
  for (int32_t input : plan->graph.inputs) {
    const bool is_mask = plan->graph.values[static_cast<size_t>(input)].name == "mask";
    Tensor tensor(DType::kInt64, {3, 12});
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      state = state * 1664525U + 1013904223U;
      const auto word = static_cast<int64_t>(state >> 8) % (highest - lowest + 1) + lowest;
      tensor.data<int64_t>()[i] = is_mask ? i % 12 < 12 - i / 12 : word;
    }
    inputs.push_back(std::move(tensor));
  }
  auto outputs = (*session)->run_in_order(inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  if (!outputs) return {};
  return {(*outputs)[0].data<float>(), (*outputs)[0].data<float>() + (*outputs)[0].elements()};
}

std::multiset<std::string> steps_of(const Plan& plan) {
  std::multiset<std::string> steps;
  for (const PlanStep& step : plan.graph.steps) steps.insert(step.op + " by " + step.kernel);
  return steps;
}

std::vector<CompileOptions> forms() {
  std::vector<CompileOptions> list(5, for_device());
  list[1].fp16 = true;
  list[2].bf16 = true;
  list[3].fp16 = true;
  list[3].quantization = dynamic_quantization({}, true);
  list[3].chooses_int8 = false;
  list[4] = list[3];
  list[4].packed = true;
  if (list[4].sm == 0) list[3].sm = list[4].sm = 80;  // of the emulated one
  return list;
}

// As far as rounding goes: the sum is not rounded in between.
float tolerance_of(const CompileOptions& options) {
  return options.bf16 ? 1e-1F : options.quantization != nullptr ? 1e-1F : options.fp16 ? 2e-2F : 1e-4F;
}

TEST(CudaEmbeddingNormSession, OneStepForAllOfThem) {
  for (CompileOptions options : forms()) {
    const auto plan = plan_of(options);
    options.disabled_passes = {"fuse_embedding_norm"};
    const auto parts = plan_of(options);
    ASSERT_TRUE(plan && parts);
    EXPECT_EQ(count(*plan, "hussar.EmbeddingNorm"), 1U);
    EXPECT_EQ(count(*parts, "hussar.EmbeddingNorm"), 0U);
    const size_t fewer = options.packed ? 3 : 2;
    EXPECT_EQ(plan->graph.steps.size() + fewer, parts->graph.steps.size());
    EXPECT_LE(largest_difference(states(plan, 0, 1099), states(parts, 0, 1099)), tolerance_of(options));
  }
}

// Words from the end of the table, and such that there are not: on a GPU these are zeros.
TEST(CudaEmbeddingNormSession, WordsOutOfRange) {
  for (CompileOptions options : forms()) {
    const auto plan = plan_of(options);
    options.disabled_passes = {"fuse_embedding_norm"};
    const auto parts = plan_of(options);
    ASSERT_TRUE(plan && parts);
    EXPECT_LE(largest_difference(states(plan, -2200, 2200), states(parts, -2200, 2200)), tolerance_of(options));
  }
}

TEST(CudaEmbeddingNormSession, RebuiltForCpus) {
  for (const CompileOptions& options : forms()) {
    const auto plan = plan_of(options);
    ASSERT_NE(plan, nullptr);
    auto moved = compile_plan(*plan, CompileOptions{});
    ASSERT_TRUE(moved) << moved.error().message;
    // As if the step had never been.
    CompileOptions in_parts = options;
    in_parts.disabled_passes = {"fuse_embedding_norm"};
    auto parts = compile_plan(*plan_of(in_parts), CompileOptions{});
    ASSERT_TRUE(parts) << parts.error().message;
    EXPECT_EQ(steps_of(*moved), steps_of(*parts));
    EXPECT_LE(largest_difference(states(std::make_shared<Plan>(std::move(*moved)), 0, 1099), states(plan, 0, 1099)),
              tolerance_of(options));
  }
}

// And for a GPU again.
TEST(CudaEmbeddingNormSession, RebuiltForGpus) {
  CompileOptions options = forms().back();
  const auto plan = plan_of(options);
  ASSERT_NE(plan, nullptr);
  options.packed = false;  // it is
  auto again = compile_plan(*plan, options);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(count(*again, "hussar.EmbeddingNorm"), 1U);
  EXPECT_LE(largest_difference(states(std::make_shared<Plan>(std::move(*again)), 0, 1099), states(plan, 0, 1099)),
            1e-2);
}

}  // namespace
}  // namespace hussar::tests
