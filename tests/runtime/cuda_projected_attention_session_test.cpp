// Encoders on a GPU of Hopper, or an emulated one, whose projections and attention are one step, beside the same ones
// in two.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/quantization.h"
#include "tensor/projected_attention.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

// So many sequences, since few of them are predicted to be faster in two steps.
constexpr int64_t kBatch = 60, kLength = 66, kWords = 20;
constexpr const char* kPass = "fuse_projected_attention";

std::vector<Tensor> make_batch(uint32_t seed) {
  std::vector<Tensor> inputs;
  for (int i = 0; i < 2; ++i) inputs.emplace_back(DType::kInt64, Shape{kBatch, kLength});
  for (int64_t i = 0; i < kBatch * kLength; ++i) {
    seed = seed * 1664525U + 1013904223U;
    inputs[0].data<int64_t>()[i] = static_cast<int64_t>((seed >> 16) % kWords);
    inputs[1].data<int64_t>()[i] = i % kLength < kLength - 3 * (i / kLength % 20);
  }
  return inputs;
}

class Batches : public DataSource {
 public:
  Result<bool> next(DataBatch& batch) override {
    if (next_ == 2) return false;
    auto tensors = make_batch(100 + next_++);
    batch.tensors = {{"ids", tensors[0]}, {"mask", tensors[1]}};
    return true;
  }

 private:
  uint32_t next_ = 0;
};

class CudaProjectedAttentionSession : public ::testing::Test {
 protected:
  void SetUp() override {
    options_ = for_device();
    if (options_.sm == 0) options_.sm = 90;  // of the emulated one
    if (options_.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
    EncoderForm form;
    form.width = 64;
    form.heads = 1;
    form.inner = 96;
    form.layers = 1;
    form.dims = {kBatch, kLength};
    bytes_ = encoder_model(form).str();
    options_.fp16 = true;
  }
  // The range of every value, as calibration finds it.
  void quantize() {
    const Folder folder;
    ASSERT_TRUE(write_file_atomically(folder.file("m.onnx"), {std::as_bytes(std::span(bytes_))}));
    Batches batches;
    auto calibration = calibrate(folder.file("m.onnx"), batches, {});
    ASSERT_TRUE(calibration) << calibration.error().message;
    options_.quantization = quantization_of(*calibration, calibration->method);
    options_.chooses_int8 = false;
  }
  std::shared_ptr<const Plan> plan(bool in_parts) const {
    CompileOptions options = options_;
    if (in_parts) options.disabled_passes = {kPass};
    auto plan = build(std::as_bytes(std::span(bytes_)), options);
    EXPECT_TRUE(plan) << plan.error().message;
    return plan ? *plan : nullptr;
  }
  static size_t count(const Plan& plan, std::string_view op) {
    return static_cast<size_t>(std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                                             [&](const PlanStep& step) { return step.op == op; }));
  }
  static std::vector<float> states(const std::shared_ptr<const Plan>& plan) {
    auto session = Session::create(plan);
    EXPECT_TRUE(session) << session.error().message;
    if (!session) return {};
    std::vector<Tensor> inputs = make_batch(7), ordered;
    for (int32_t input : plan->graph.inputs)
      ordered.push_back(inputs[plan->graph.values[static_cast<size_t>(input)].name == "mask" ? 1 : 0]);
    auto outputs = (*session)->run_in_order(ordered);
    EXPECT_TRUE(outputs) << outputs.error().message;
    if (!outputs) return {};
    return {(*outputs)[0].data<float>(), (*outputs)[0].data<float>() + (*outputs)[0].elements()};
  }
  void expect_rebuilds(const std::shared_ptr<const Plan>& plan, double tolerance) const {
    auto moved = compile_plan(*plan, CompileOptions{});
    ASSERT_TRUE(moved) << moved.error().message;
    EXPECT_EQ(count(*moved, kProjectedAttention) + count(*moved, kQuantizedProjectedAttention), 0U);
    EXPECT_LE(largest_difference(states(std::make_shared<Plan>(std::move(*moved))), states(plan)), tolerance);
    CompileOptions same = options_;
    same.quantization = nullptr;
    auto again = compile_plan(*plan, same);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(states(std::make_shared<Plan>(std::move(*again))), states(plan));
  }

  std::string bytes_;
  CompileOptions options_;
};

TEST_F(CudaProjectedAttentionSession, Halves) {
  const auto fused = plan(false), parts = plan(true);
  ASSERT_TRUE(fused && parts);
  EXPECT_EQ(count(*fused, kProjectedAttention), 1U);
  EXPECT_EQ(count(*parts, kProjectedAttention), 0U);
  EXPECT_EQ(fused->graph.steps.size() + 1, parts->graph.steps.size());
  EXPECT_LE(largest_difference(states(fused), states(parts)), 2e-3);
  expect_rebuilds(fused, 2e-2);
}

// Sums of bytes are exact, and attention on them adds in the same order: the same bits.
TEST_F(CudaProjectedAttentionSession, Bytes) {
  quantize();
  const auto fused = plan(false), parts = plan(true);
  ASSERT_TRUE(fused && parts);
  EXPECT_EQ(count(*fused, kQuantizedProjectedAttention), 1U);
  EXPECT_EQ(count(*parts, "hussar.QuantizedAttention"), 1U);
  EXPECT_EQ(fused->graph.steps.size() + 1, parts->graph.steps.size());
  EXPECT_EQ(states(fused), states(parts));
  expect_rebuilds(fused, 1e-1);
}

}  // namespace
}  // namespace hussar::tests
