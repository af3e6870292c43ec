// Plans that leave out padding, on the test device and rebuilt for CPUs, beside the same models with all rows.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "compile/compile.h"
#include "compile/fp8.h"
#include "compile/packed_rows.h"
#include "compile/sample.h"
#include "compile/self_check.h"
#include "runtime/row_counts.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

size_t count(const Plan& plan, std::string_view op) {
  size_t number = 0;
  for (const PlanStep& step : plan.graph.steps) number += step.op == op ? 1 : 0;
  return number;
}

// Token ids, and the mask of sequences of these lengths; tokens of `first`: from there on in the last sequence.
std::vector<Tensor> make_batch(const Plan& plan, const Ints& lengths, int64_t length, int64_t first = 0) {
  const auto batch = static_cast<int64_t>(lengths.size());
  std::vector<Tensor> inputs;
  for (int32_t input : plan.graph.inputs) {
    Tensor tensor(DType::kInt64, {batch, length});
    const bool is_mask = plan.graph.values[input].name == "mask";
    uint32_t state = 7;
    for (int64_t i = 0; i < batch * length; ++i) {
      state = state * 1664525U + 1013904223U;
      const int64_t at = i % length, begin = i / length == batch - 1 ? first : 0;
      const bool is_token = at >= begin && at < begin + lengths[static_cast<size_t>(i / length)];
      // Word 1 is padding.
      tensor.data<int64_t>()[i] = is_mask ? is_token : is_token ? 2 + (state >> 16) % 18 : 1;
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

// The packed plan gives what all rows give where there are tokens, and zeros elsewhere.
void expect_agree(Session& packed, Session& all, const Ints& lengths, int64_t length, float tolerance,
                  int64_t first = 0) {
  const std::vector<Tensor> inputs = make_batch(packed.plan(), lengths, length, first);
  auto expected = all.run_in_order(inputs);
  auto actual = packed.run_in_order(inputs);
  ASSERT_TRUE(expected) << expected.error().message;
  ASSERT_TRUE(actual) << actual.error().message;
  const Tensor &y = (*actual)[0], &wanted = (*expected)[0];
  ASSERT_EQ(y.shape(), wanted.shape());
  const int64_t width = y.shape()[2], batch = y.shape()[0];
  for (int64_t i = 0; i < y.elements(); ++i) {
    const int64_t row = i / width, at = row % length, begin = row / length == batch - 1 ? first : 0;
    const bool is_token = at >= begin && at < begin + lengths[static_cast<size_t>(row / length)];
    const float want = is_token ? wanted.data<float>()[i] : 0;
    ASSERT_NEAR(y.data<float>()[i], want, tolerance * std::fmax(1.0F, std::fabs(want))) << "row " << row;
  }
  for (int64_t b = 0; b < batch; ++b) {
    if (lengths[static_cast<size_t>(b)] == 0 || (b == batch - 1 && first > 0)) continue;
    for (int64_t i = b * width; i < (b + 1) * width; ++i)
      ASSERT_NEAR((*actual)[1].data<float>()[i], (*expected)[1].data<float>()[i], tolerance) << "pooled " << b;
  }
}

std::unique_ptr<Session> session_of(const Message& model, const CompileOptions& options) {
  auto plan = build(model.bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  if (!plan) return nullptr;
  auto session = Session::create(*plan);
  EXPECT_TRUE(session) << session.error().message;
  return session ? std::move(*session) : nullptr;
}

void expect_packs(const EncoderForm& form, CompileOptions options, float tolerance) {
  const Message model = encoder_model(form);
  CompileOptions reference;
  reference.reference_only = true;
  auto all = session_of(model, reference);
  options.packed = true;
  auto packed = session_of(model, options);
  ASSERT_TRUE(all && packed);
  EXPECT_EQ(count(packed->plan(), "hussar.TokenOrder"), 1U);
  // Where rows begin, embeddings are gathered in their order.
  EXPECT_EQ(count(packed->plan(), "hussar.EmbeddingNorm"), 1U);
  EXPECT_EQ(count(packed->plan(), "hussar.GatherRows"), 1U);
  EXPECT_NE(packed->plan().meta.at("packed").find("2 of 2 attentions"), std::string::npos);
  for (const Ints& lengths : {Ints{5, 12, 1}, {12}, {12, 12}, {1, 1, 1, 1}, {3, 0, 7}, {0, 0}, {5, 12, 1}}) {
    expect_agree(*packed, *all, lengths, 12, tolerance);
    if (testing::Test::HasFailure()) return;
  }
  // Tokens need not come first.
  expect_agree(*packed, *all, {4, 6}, 12, tolerance, 5);
}

TEST(CudaPackedSession, Encoder) { expect_packs({}, for_device(), 1e-4F); }

TEST(CudaPackedSession, EncoderInHalves) {
  CompileOptions options = for_device();
  options.fp16 = true;
  expect_packs({}, options, 2e-2F);
}

TEST(CudaPackedSession, EncoderInBf16) {
  CompileOptions options = for_device();
  options.bf16 = true;
  expect_packs({}, options, 1.6e-1F);
}

TEST(CudaPackedSession, PaddingThatTheModelFinds) {
  EncoderForm form;
  form.finds_padding = true;
  expect_packs(form, for_device(), 1e-4F);
}

// All that lies between the first and the last move of rows need not compute those of padding.
TEST(CudaPackedSession, StepsKnowHowManyRowsAreNeeded) {
  CompileOptions options = for_device();
  options.packed = true;
  auto plan = build(encoder_model().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  bool is_between = false;
  for (const PlanStep& step : (*plan)->graph.steps) {
    if (step.op == "hussar.EmbeddingNorm") is_between = true;
    if (step.op != "hussar.GatherRows") {
      EXPECT_EQ(row_count_value((*plan)->graph, step) >= 0, is_between) << step.name;
      continue;
    }
    is_between = !is_between;
    EXPECT_EQ(row_count_value((*plan)->graph, step) >= 0, is_between) << step.name;
  }
}

// What a plan computes with, but for what moves rows and what makes the mask.
std::map<std::string, int> steps_of(const Plan& plan) {
  std::map<std::string, int> steps;
  for (const PlanStep& step : plan.graph.steps) {
    const bool moves = step.op == "hussar.TokenOrder" || step.op == "hussar.GatherRows";
    const bool makes_mask = step.op == "Unsqueeze" || step.op == "Cast" || step.name.starts_with("Sub_");
    if (!moves && !makes_mask) ++steps[step.op + " by " + step.kernel + (step.program ? ", fused" : "")];
  }
  return steps;
}

// Steps are fused, and kernels chosen, as without.
TEST(CudaPackedSession, SameStepsOtherwise) {
  CompileOptions options = for_device();
  options.fp16 = true;
  auto all = session_of(encoder_model(), options);
  options.packed = true;
  auto packed = session_of(encoder_model(), options);
  options.fp16 = false;
  options.bf16 = true;
  auto packed_bf16 = session_of(encoder_model(), options);
  ASSERT_TRUE(all && packed && packed_bf16);
  EXPECT_EQ(steps_of(packed->plan()), steps_of(all->plan()));
  EXPECT_EQ(steps_of(packed_bf16->plan()), steps_of(all->plan()));
}

std::shared_ptr<Quantization> some_ranges() {
  auto quantization = std::make_shared<Quantization>();
  for (int i = 1; i < 200; ++i) quantization->activations["t" + std::to_string(i)] = {0.04F, 128};
  return quantization;
}

void expect_packed_bytes_agree(const std::shared_ptr<const Quantization>& quantization) {
  CompileOptions options = for_device();
  options.fp16 = true;
  options.quantization = quantization;
  options.chooses_int8 = false;
  auto all = session_of(encoder_model(), options);
  options.packed = true;
  auto packed = session_of(encoder_model(), options);
  ASSERT_TRUE(all && packed);
  EXPECT_GE(count(packed->plan(), "hussar.QuantizedMatMul"), 7U);
  EXPECT_GE(count(packed->plan(), "hussar.NormToBytes"), 3U);
  EXPECT_EQ(steps_of(packed->plan()), steps_of(all->plan()));
  // Tensor cores may add the products of a row in another order, and a last bit may decide about a byte.
  const float tolerance = is_emulated(use_test_device()) ? 1e-6F : quantization->fp8 ? 0.3F : 0.15F;
  for (const Ints& lengths : {Ints{5, 12, 1}, {12}, {3, 0, 7}}) expect_agree(*packed, *all, lengths, 12, tolerance);
}

TEST(CudaPackedSession, EncoderInBytes) { expect_packed_bytes_agree(some_ranges()); }

TEST(CudaPackedSession, EncoderInFp8) { expect_packed_bytes_agree(in_fp8(*some_ranges())); }

TEST(CudaPackedSession, RebuiltForCpus) {
  CompileOptions options = for_device();
  options.packed = true;
  auto plan = build(encoder_model().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  auto moved = compile_plan(**plan, CompileOptions{});
  ASSERT_TRUE(moved) << moved.error().message;
  auto packed = Session::create(std::make_shared<Plan>(std::move(*moved)));
  ASSERT_TRUE(packed) << packed.error().message;
  CompileOptions reference;
  reference.reference_only = true;
  auto all = session_of(encoder_model(), reference);
  ASSERT_TRUE(all);
  expect_agree(**packed, *all, {5, 12, 1, 0}, 12, 1e-4F);
}

TEST(CudaPackedSession, MadeUpInputsHavePadding) {
  CompileOptions options = for_device();
  options.packed = true;
  auto plan = build(encoder_model().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto rows = packed_rows((*plan)->graph);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->are_packed, (std::vector<bool>{true, false}));
  auto inputs = random_inputs(input_facts((*plan)->graph), {{"mask", {8, 12}}}, 1);
  ASSERT_TRUE(inputs) << inputs.error().message;
  const Tensor& mask = (*inputs)[rows->mask];
  int64_t tokens = 0;
  for (int64_t i = 0; i < mask.elements(); ++i) {
    tokens += mask.data<int64_t>()[i];
    if (i % 12 == 0)
      EXPECT_EQ(mask.data<int64_t>()[i], 1);
    else
      EXPECT_LE(mask.data<int64_t>()[i], mask.data<int64_t>()[i - 1]);
  }
  EXPECT_GT(tokens, 8);
  EXPECT_LT(tokens, 96);
}

std::string build_error(const Message& model, CompileOptions options) {
  options.packed = true;
  auto plan = build(model.bytes(), options);
  return plan ? "" : plan.error().message;
}

Result<std::shared_ptr<Plan>> build_checked(const EncoderForm& form, SelfCheckReport& report) {
  const Folder folder;
  const std::string path = folder.file("encoder.onnx");
  EXPECT_TRUE(write_file_atomically(path, {encoder_model(form).bytes()}));
  CompileOptions options = for_device();
  options.packed = true;
  SelfCheckOptions check;
  check.shapes = {{"ids", {3, 12}}};
  return compile_checked(path, options, check, nullptr, &report);
}

// Against the model that computes all rows where an input tells what is padding, else against the same in slow code.
TEST(CudaPackedSession, IsChecked) {
  for (const bool finds_padding : {false, true}) {
    EncoderForm form;
    form.finds_padding = finds_padding;
    SelfCheckReport report;
    auto plan = build_checked(form, report);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_TRUE(report.done);
    EXPECT_EQ(report.reference, finds_padding ? "the same passes, scalar code" : "no passes, scalar code");
    EXPECT_LE(report.error, 1e-4);
  }
}

TEST(CudaPackedSession, TheCheckFindsReadersOfPadding) {
  EncoderForm form;
  form.averages = true;
  SelfCheckReport report;
  auto plan = build_checked(form, report);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kAccuracy);
  EXPECT_NE(plan.error().message.find("output 'pooled' is off"), std::string::npos) << plan.error().message;
}

TEST(CudaPackedSession, SaysWhyNothingIsPacked) {
  EncoderForm causal;
  causal.is_causal = true;
  EXPECT_NE(build_error(encoder_model(causal), for_device()).find("depends on more than which keys are padding"),
            std::string::npos)
      << build_error(encoder_model(causal), for_device());
  EXPECT_NE(build_error(dense_model(), for_device()).find("no attention is recognised in the model"),
            std::string::npos);
}

}  // namespace
}  // namespace hussar::tests
