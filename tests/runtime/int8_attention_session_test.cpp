// Encoders whose attention multiplies bytes on a GPU, beside the same calibration on a CPU: the emulated GPU passes for
// one of sm_80.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/fp8.h"
#include "compile/measure_problem.h"
#include "compile/quantization.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"
#include "tests/support/folder.h"

namespace hussar::tests {
namespace {

constexpr int64_t kBatch = 3, kLength = 40, kWords = 20, kLayers = 1;

// Token ids, and a mask of sequences of these lengths.
std::vector<Tensor> make_batch(const Ints& lengths, uint32_t seed) {
  std::vector<Tensor> inputs;
  for (int i = 0; i < 2; ++i) inputs.emplace_back(DType::kInt64, Shape{kBatch, kLength});
  for (int64_t i = 0; i < kBatch * kLength; ++i) {
    seed = seed * 1664525U + 1013904223U;
    inputs[0].data<int64_t>()[i] = static_cast<int64_t>((seed >> 16) % kWords);
    inputs[1].data<int64_t>()[i] = i % kLength < lengths[static_cast<size_t>(i / kLength)];
  }
  return inputs;
}

class Batches : public DataSource {
 public:
  Result<bool> next(DataBatch& batch) override {
    if (next_ == 6) return false;
    auto tensors = make_batch({kLength, 23, 31}, 100 + next_++);
    batch.tensors = {{"ids", tensors[0]}, {"mask", tensors[1]}};
    return true;
  }

 private:
  uint32_t next_ = 0;
};

class Int8AttentionOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    EncoderForm form;
    form.width = 64;
    form.inner = 96;
    form.layers = kLayers;
    form.dims = {"batch", kLength};
    model_ = encoder_model(form);
    bytes_ = model_.str();
    ASSERT_TRUE(write_file_atomically(folder_.file("m.onnx"), {std::as_bytes(std::span(bytes_))}));
    Batches batches;
    auto calibration = calibrate(folder_.file("m.onnx"), batches, {});
    ASSERT_TRUE(calibration) << calibration.error().message;
    quantization_ = quantization_of(*calibration, calibration->method);
  }

  // On the GPU, or on one of sm_80 that is emulated.
  CompileOptions on_device() const {
    CompileOptions options = for_device();
    if (options.sm == 0) options.sm = 80;
    options.quantization = quantization_;
    options.chooses_int8 = false;
    return options;
  }
  std::shared_ptr<const Plan> plan(const CompileOptions& options) const {
    auto plan = build(std::as_bytes(std::span(bytes_)), options);
    EXPECT_TRUE(plan) << plan.error().message;
    return *plan;
  }
  // The states of all tokens, those of padding as zeros.
  static std::vector<float> states(const std::shared_ptr<const Plan>& plan, const Ints& lengths) {
    auto session = Session::create(plan);
    EXPECT_TRUE(session) << session.error().message;
    std::vector<Tensor> inputs = make_batch(lengths, 7), ordered;
    for (int32_t input : plan->graph.inputs)
      ordered.push_back(inputs[plan->graph.values[static_cast<size_t>(input)].name == "mask" ? 1 : 0]);
    auto outputs = (*session)->run_in_order(ordered);
    EXPECT_TRUE(outputs) << outputs.error().message;
    const Tensor& y = (*outputs)[0];
    const int64_t width = y.shape()[2];
    std::vector<float> numbers(y.data<float>(), y.data<float>() + y.elements());
    for (int64_t i = 0; i < y.elements(); ++i) {
      const int64_t row = i / width;
      if (row % kLength >= lengths[static_cast<size_t>(row / kLength)]) numbers[static_cast<size_t>(i)] = 0;
    }
    return numbers;
  }
  static double decibels(const std::vector<float>& exact, const std::vector<float>& other) {
    double signal = 0, noise = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      signal += static_cast<double>(exact[i]) * exact[i];
      noise += std::pow(static_cast<double>(exact[i]) - other[i], 2);
    }
    return 10 * std::log10(signal / noise);
  }
  static std::vector<const PlanStep*> steps_of(const Plan& plan, std::string_view op) {
    std::vector<const PlanStep*> steps;
    for (const PlanStep& step : plan.graph.steps) {
      if (step.op == op) steps.push_back(&step);
    }
    return steps;
  }

  Folder folder_;
  Message model_;
  std::string bytes_;
  std::shared_ptr<const Quantization> quantization_;
};

// The plan for a CPU rounds weights to bytes where this one has halves, and FP16 rounds what lies between the products:
// bytes go the other way, but no more than between either plan and FP32.
TEST_F(Int8AttentionOnGpu, AgreesWithCpu) {
  const Ints lengths = {kLength, 17, 1};
  CompileOptions options;
  const auto exact = states(plan(options), lengths);
  options.quantization = quantization_;
  const auto host_plan = plan(options);
  ASSERT_EQ(steps_of(*host_plan, "hussar.QuantizedAttention").size(), size_t{kLayers});
  const auto on_host = states(host_plan, lengths);
  for (bool fp16 : {false, true}) {
    CompileOptions device = on_device();
    device.fp16 = fp16;
    const auto device_plan = plan(device);
    const auto attentions = steps_of(*device_plan, "hussar.QuantizedAttention");
    ASSERT_EQ(attentions.size(), size_t{kLayers});
    for (const PlanStep* step : attentions) {
      EXPECT_EQ(step->kernel, "cuda_attention_int8");
      EXPECT_TRUE(step->attributes.has("y_scale"));
    }
    const auto on_device = states(device_plan, lengths);
    EXPECT_GT(decibels(on_host, on_device), decibels(exact, on_host) - 3) << (fp16 ? "FP16" : "FP32");
    EXPECT_GT(decibels(exact, on_device), decibels(exact, on_host) - 1) << (fp16 ? "FP16" : "FP32");
  }
}

TEST_F(Int8AttentionOnGpu, LeavesOutPadding) {
  const Ints lengths = {kLength, 17, 1};
  CompileOptions options = on_device();
  options.fp16 = true;
  const auto all = states(plan(options), lengths);
  options.packed = true;
  const auto packed_plan = plan(options);
  const auto attentions = steps_of(*packed_plan, "hussar.QuantizedAttention");
  ASSERT_EQ(attentions.size(), size_t{kLayers});
  EXPECT_GE(attentions[0]->inputs.at(7), 0);  // where sequences start
  EXPECT_GT(decibels(all, states(packed_plan, lengths)), 30);
}

// What is chosen by measured time is what the report and the plan's steps say.
TEST_F(Int8AttentionOnGpu, TuningDecides) {
  CompileOptions options = on_device();
  options.fp16 = options.chooses_int8 = true;
  options.tune_seconds = 0.1;
  options.tune_shapes = {{"ids", Dims{1, kLength}}, {"mask", Dims{1, kLength}}};
  CompileReport report;
  auto chosen = compile_file(folder_.file("m.onnx"), options, &report);
  ASSERT_TRUE(chosen) << chosen.error().message;
  for (const PlanStep* step : steps_of(*chosen, "hussar.QuantizedAttention"))
    EXPECT_NE(step->report.find("INT8: "), std::string::npos) << step->report;
  for (const PlanStep* step : steps_of(*chosen, "hussar.Attention"))
    EXPECT_NE(step->report.find("no INT8: "), std::string::npos) << step->report;
  const auto in_int8 = steps_of(*chosen, "hussar.QuantizedAttention");
  EXPECT_EQ(in_int8.size() + steps_of(*chosen, "hussar.Attention").size(), size_t{kLayers});
  size_t choices = 0;
  for (const PlanStep& step : chosen->graph.steps) {
    if (!step.op.ends_with("Attention")) continue;
    for (const Int8Choice& choice : report.int8.choices) {
      if (choice.name != step.name) continue;
      ++choices;
      EXPECT_EQ(choice.int8, step.op == "hussar.QuantizedAttention") << step.report;
    }
  }
  EXPECT_EQ(choices, size_t{kLayers});
}

// What `hussar bench --target cuda --problem` shows: every tile has its time.
TEST_F(Int8AttentionOnGpu, ProblemIsMeasured) {
  const CompileOptions options = on_device();
  Target target;
  target.place = Place::kDevice;
  target.sm = options.sm;
  target.threads = 1;
  auto times = measure_problem(
      "hussar.QuantizedAttention x0=1x32x96:uint8 x1=1x32x96:uint8 x2=1x32x96:uint8 x3=1:const x4=1:const "
      "x5=32:const heads=1 head_dim=32 k_offset=32 v_offset=64 q_zero_point=128 k_zero_point=128 v_zero_point=128",
      target, 10);
  ASSERT_TRUE(times) << times.error().message;
  EXPECT_EQ(times->flops, 4.0 * 32 * 32 * 32);
  size_t measured = 0;
  for (const ProblemTime& time : times->rivals) measured += time.name.starts_with("cuda_attention_int8") && time.median;
  EXPECT_EQ(measured, 6U);
}

// Queries, keys and values stay halves where nobody may multiply their bytes, and the plan says why.
TEST_F(Int8AttentionOnGpu, StaysInFloatsElsewhere) {
  CompileOptions options = on_device();
  options.fp16 = true;
  options.quantization = in_fp8(*quantization_);
  options.sm = std::max(options.sm, 89);
  auto fp8 = plan(options);
  ASSERT_EQ(steps_of(*fp8, "hussar.Attention").size(), size_t{kLayers});
  EXPECT_NE(steps_of(*fp8, "hussar.Attention")[0]->report.find("attention is multiplied in FP16"), std::string::npos);
  options = for_device();
  if (options.sm != 0) return;
  options.quantization = quantization_;
  const auto old = plan(options);
  ASSERT_EQ(steps_of(*old, "hussar.Attention").size(), size_t{kLayers});
  EXPECT_NE(steps_of(*old, "hussar.Attention")[0]->report.find("needs tensor cores"), std::string::npos);
}

}  // namespace
}  // namespace hussar::tests
