// Whole models with steps on a device, on the CPU where there is none: copies between the sides, recordings, new
// shapes.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "compile/precision.h"
#include "onnx/import.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

size_t steps_on_device(const Plan& plan) {
  size_t count = 0;
  for (const PlanStep& step : plan.graph.steps) count += step.kernel.starts_with("cuda_") ? 1 : 0;
  return count;
}

// Runs the plan and the model by reference code, in the same precision, on the same inputs, for each value of the
// symbols.
void expect_outputs(const Message& model, std::shared_ptr<const Plan> plan, const std::vector<int64_t>& symbols,
                    float tolerance = 1e-4F, std::shared_ptr<const Quantization> quantization = nullptr) {
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = std::move(quantization);
  auto expected_plan = build(model.bytes(), reference);
  ASSERT_TRUE(expected_plan) << expected_plan.error().message;
  auto expected_session = Session::create(*expected_plan);
  auto session = Session::create(plan);
  ASSERT_TRUE(session) << session.error().message;
  uint32_t seed = 1;
  for (int64_t symbol : symbols) {
    auto inputs = make_inputs(*plan, seed++, symbol, 100000);
    ASSERT_TRUE(inputs);
    auto expected = (*expected_session)->run_in_order(*inputs);
    auto outputs = (*session)->run_in_order(*inputs);
    ASSERT_TRUE(expected) << expected.error().message;
    ASSERT_TRUE(outputs) << outputs.error().message;
    for (size_t i = 0; i < outputs->size(); ++i) {
      const Tensor &actual = (*outputs)[i], &wanted = (*expected)[i];
      ASSERT_EQ(actual.shape(), wanted.shape());
      ASSERT_EQ(actual.dtype(), DType::kFloat32);
      for (int64_t k = 0; k < actual.elements(); ++k) {
        const float want = wanted.data<float>()[k];
        ASSERT_NEAR(actual.data<float>()[k], want, tolerance * std::fmax(1.0F, std::fabs(want)))
            << "output " << i << ", element " << k << ", run " << seed - 1;
      }
    }
  }
}

void expect_same_outputs(const Message& model, const std::vector<int64_t>& symbols) {
  auto plan = build(model.bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GE(steps_on_device(**plan), 1U);
  expect_outputs(model, *plan, symbols);
}

// The first run of a shape records, the second replays; a third shape returns to the first.
TEST(CudaSession, ConvolutionsOfManyShapes) { expect_same_outputs(conv_model(), {6, 6, 6, 9, 9, 6, 6}); }

TEST(CudaSession, Dense) { expect_same_outputs(dense_model(), {1, 1}); }

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.02F * static_cast<float>(static_cast<int>(i % 23) - 11);
  return values;
}

// A convolution and a product whose sizes fit the tensor cores.
Message wide_conv_model() {
  return model(graph({{node("Conv", {"x", "w"}, {"y"}, {attribute("pads", std::vector<int64_t>{1, 1, 1, 1})})},
                      {value("x", {"N", 64, 6, 6})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {64, 64, 3, 3}, ramp(36864))}}));
}
Message wide_dense_model() {
  return model(graph({{node("MatMul", {"x", "w"}, {"y"})},
                      {value("x", {"N", 64})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {64, 64}, ramp(4096))}}));
}

// Each channel by itself.
Message depthwise_model() {
  return model(graph({{node("Conv", {"x", "w"}, {"y"}, {attribute("group", int64_t{16})})},
                      {value("x", {"N", 16, 6, 6})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {16, 1, 3, 3}, ramp(144))}}));
}

// The first convolution of a network, and one that goes on.
Message picture_model() {
  return model(graph(
      {{node("Conv", {"x", "v"}, {"a"},
             {attribute("pads", std::vector<int64_t>{1, 1, 1, 1}), attribute("strides", std::vector<int64_t>{2, 2})}),
        node("Conv", {"a", "w"}, {"y"}, {attribute("pads", std::vector<int64_t>{1, 1, 1, 1})})},
       {value("x", {"N", 3, 9, 7})},
       {any_shape("y")},
       {tensor_of("v", DType::kFloat32, {8, 3, 3, 3}, ramp(216)),
        tensor_of("w", DType::kFloat32, {8, 8, 3, 3}, ramp(576))}}));
}

// Bytes that halves round the other way change results by some percent. Both products are of bytes, and so is what the
// normalization and the activation make for them.
Message int8_model() {
  return model(graph(
      {{node("LayerNormalization", {"x", "g", "h"}, {"a"}), node("MatMul", {"a", "w"}, {"b"}),
        node("Relu", {"b"}, {"c"}), node("MatMul", {"c", "v"}, {"d"}), node("Add", {"d", "a"}, {"y"})},
       {value("x", {"N", 64})},
       {any_shape("y")},
       {tensor_of("w", DType::kFloat32, {64, 64}, ramp(4096)), tensor_of("v", DType::kFloat32, {64, 64}, ramp(4096)),
        tensor_of("g", DType::kFloat32, {64}, std::vector<float>(64, 1.0F)),
        tensor_of("h", DType::kFloat32, {64}, ramp(64))}}));
}
Message int8_conv_model() {
  const auto pads = attribute("pads", std::vector<int64_t>{1, 1, 1, 1});
  return model(graph(
      {{node("Conv", {"x", "w"}, {"b"}, {pads}), node("Relu", {"b"}, {"c"}), node("Conv", {"c", "w"}, {"y"}, {pads})},
       {value("x", {"N", 64, 6, 6})},
       {any_shape("y")},
       {tensor_of("w", DType::kFloat32, {64, 64, 3, 3}, ramp(36864))}}));
}
std::shared_ptr<const Quantization> ranges() {
  auto quantization = std::make_shared<Quantization>();
  quantization->activations = {{"a", {0.025F, 128}}, {"c", {0.06F, 0}}};
  return quantization;
}

void expect_bytes_agree(const std::shared_ptr<const Quantization>& quantization) {
  CompileOptions options = for_device();
  options.quantization = quantization;
  for (DType half : {DType::kUndefined, DType::kFloat16, DType::kBFloat16}) {
    options.fp16 = half == DType::kFloat16;
    options.bf16 = half == DType::kBFloat16;
    // BF16 rounds eight times as much as halves, so more bytes go the other way, each by up to an eighth of itself in
    // FP8.
    const float in_bf16 = quantization->fp8 ? 1.2F : 0.6F;
    const float tolerance = options.bf16 ? in_bf16 : options.fp16 ? 0.3F : 0.1F;
    for (const Message& model : {int8_model(), int8_conv_model()}) {
      auto plan = build(model.bytes(), options);
      ASSERT_TRUE(plan) << plan.error().message;
      EXPECT_EQ(steps_on_device(**plan), (*plan)->graph.steps.size());
      EXPECT_GE(count_int8_steps((*plan)->graph), 1);
      EXPECT_EQ(has_fp8_steps((*plan)->graph), quantization->fp8);
      expect_outputs(model, *plan, {2, 2, 5}, tolerance, quantization);
    }
  }
}

TEST(CudaSession, Int8) { expect_bytes_agree(ranges()); }

TEST(CudaSession, Fp8) { expect_bytes_agree(in_fp8(*ranges())); }

// What the products read is written as FP8 by whoever makes it, and both factors are FP8.
TEST(CudaSession, Fp8FromProducerToProduct) {
  CompileOptions options;
  options.fp16 = true;
  options.quantization = in_fp8(*ranges());
  options.chooses_int8 = false;
  auto plan = plan_for_hopper(int8_model(), options);
  ASSERT_NE(plan, nullptr);
  int products = 0;
  for (const PlanStep& step : plan->graph.steps) {
    EXPECT_NE(step.op, "QuantizeLinear");
    if (step.op != "hussar.QuantizedMatMul") continue;
    ++products;
    for (int input : {0, 1}) EXPECT_EQ(plan->graph.values[step.inputs[input]].dtype, DType::kFloat8E4M3FN);
    EXPECT_EQ(precision_name(plan->graph, step), "fp8");
    EXPECT_TRUE(step.kernel == "cuda_product_hopper" || step.kernel == "cuda_product") << step.kernel;
  }
  EXPECT_EQ(products, 2);
}

// The largest magnitude of a range becomes 448, whichever side it is on.
TEST(CudaSession, RangesInFp8AreSymmetric) {
  const auto in_bytes = in_fp8(*ranges());
  EXPECT_TRUE(in_bytes->fp8);
  for (const auto& [name, params] : in_bytes->activations) {
    const float largest = name == "a" ? 0.025F * 128 : 0.06F * 255;
    EXPECT_FLOAT_EQ(params.scale * 448, largest) << name;
    EXPECT_EQ(params.zero_point, 0);
    EXPECT_EQ(params.dtype, DType::kFloat8E4M3FN);
  }
}

// Layers that differ in weights and ranges only.
TEST(CudaSession, LayersWithOtherScalesShareTheirCode) {
  std::vector<std::string> names = {"x", "a", "b", "c", "y"};
  std::vector<Message> nodes, weights;
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    const std::string weight = "w" + names[i], sum = "s" + names[i];
    nodes.push_back(node("MatMul", {names[i], weight}, {sum}));
    nodes.push_back(node("Relu", {sum}, {names[i + 1]}));
    weights.push_back(tensor_of(weight, DType::kFloat32, {64, 64}, ramp(4096)));
  }
  auto quantization = std::make_shared<Quantization>();
  // With a zero point of 0 code would be without the relu.
  quantization->activations = {{"x", {0.02F, 0}}, {"a", {0.03F, 2}}, {"b", {0.05F, 3}}, {"c", {0.07F, 5}}};
  CompileOptions options = for_device();
  options.quantization = quantization;
  auto plan = build(model(graph({nodes, {value("x", {"N", 64})}, {any_shape("y")}, weights})).bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  std::map<uint64_t, int> users;  // of codes that write bytes, by where they lie
  for (const PlanStep& step : (*plan)->graph.steps) {
    if (step.op != "hussar.QuantizedMatMul" || !step.attributes.has("y_scale")) continue;
    const auto code = static_cast<size_t>(step.attributes.get_ints(kCodeAttribute).at(0));
    ++users[(*plan)->graph.values[code].constant_offset];
  }
  ASSERT_EQ(users.size(), 1U);
  EXPECT_EQ(users.begin()->second, 3);
}

// Weights that kernels of GPUs have turned and packed are what they were when a plan is built again for a CPU.
TEST(CudaSession, PlansAreBuiltAgainForTheCpu) {
  std::set<std::string> kernels;
  CompileOptions in_fp32, in_tf32, in_fp16, in_bf16, in_int8, in_bytes;
  in_tf32.tf32 = in_fp16.fp16 = in_bf16.bf16 = in_int8.bf16 = in_bytes.fp16 = true;
  in_int8.quantization = ranges();
  in_bytes.quantization = in_fp8(*ranges());
  for (const CompileOptions& options : {in_fp32, in_tf32, in_fp16, in_bf16, in_int8, in_bytes}) {
    for (const Message& model : {conv_model(), wide_conv_model(), wide_dense_model(), depthwise_model(),
                                 picture_model(), int8_model(), int8_conv_model()}) {
      auto plan = plan_for_hopper(model, options);
      ASSERT_NE(plan, nullptr);
      for (const PlanStep& step : plan->graph.steps) kernels.insert(step.kernel);
      auto rebuilt = compile_plan(*plan, {});
      ASSERT_TRUE(rebuilt) << rebuilt.error().message;
      EXPECT_EQ(steps_on_device(*rebuilt) + static_cast<size_t>(count_tf32_steps(rebuilt->graph)), 0U);
      expect_outputs(model, std::make_shared<const Plan>(std::move(*rebuilt)), {2, 3},
                     options.quantization != nullptr ? 0.3F
                     : options.fp16                  ? 1e-2F
                     : options.bf16                  ? 8e-2F
                                                     : 1e-4F,
                     options.quantization);
    }
  }
  // All that change what their weights look like.
  for (const char* kernel : {"cuda_conv", "cuda_conv_columns", "cuda_conv_depthwise", "cuda_conv_hopper",
                             "cuda_conv_lines", "cuda_product", "cuda_product_hopper", "cuda_norm"})
    EXPECT_EQ(kernels.count(kernel), 1U) << kernel;
}

// Products are rounded to TF32 where that is allowed, and not in nodes that are to stay in FP32.
TEST(CudaSession, Tf32WhereAllowed) {
  CompileOptions options;
  auto exact = plan_for_hopper(wide_dense_model(), options);
  options.tf32 = true;
  auto rounded = plan_for_hopper(wide_dense_model(), options);
  ASSERT_TRUE(exact != nullptr && rounded != nullptr);
  EXPECT_EQ(count_tf32_steps(exact->graph), 0);
  EXPECT_GE(count_tf32_steps(rounded->graph), 1);
  EXPECT_EQ(tolerance_of_floats(rounded->graph), kFp16Tolerance);
  EXPECT_EQ(tolerance_of_floats(exact->graph), kFp32Tolerance);
  for (const PlanStep& step : rounded->graph.steps) {
    if (precision_name(rounded->graph, step) == "tf32") options.fp32_nodes.push_back(step.name);
  }
  auto kept = plan_for_hopper(wide_dense_model(), options);
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(count_tf32_steps(kept->graph), 0);
}

size_t steps_of(const Plan& plan, std::string_view op) {
  return static_cast<size_t>(std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                                           [&](const PlanStep& step) { return step.op == op; }));
}

void expect_converts_nothing_twice(const CompileOptions& options) {
  auto pictures = plan_for_hopper(picture_model(), options);
  ASSERT_NE(pictures, nullptr);
  EXPECT_EQ(steps_of(*pictures, "Cast"), 1U);
  EXPECT_EQ(steps_of(*pictures, "hussar.Reformat"), 1U);
  const Message viewed = model(
      graph({{node("MatMul", {"x", "w"}, {"a"}), node("Reshape", {"a", "shape"}, {"b"}), node("Sin", {"b"}, {"y"})},
             {value("x", {"N", 64})},
             {any_shape("y")},
             {tensor_of("w", DType::kFloat32, {64, 64}, ramp(4096)),
              tensor_of("shape", DType::kInt64, {3}, std::vector<int64_t>{-1, 8, 8})}}));
  auto views = plan_for_hopper(viewed, options);
  ASSERT_NE(views, nullptr);
  EXPECT_EQ(steps_of(*views, "Cast"), 2U);
}

// The first convolution reads the picture in the layout and as the floats in which it comes: one Cast and one Reformat
// behind the convolutions. A view of halves is no place to widen and narrow them: one Cast at each end.
TEST(CudaSession, ConvertsNothingTwice) {
  for (const bool bf16 : {false, true}) {
    CompileOptions options;
    (bf16 ? options.bf16 : options.fp16) = true;
    expect_converts_nothing_twice(options);
  }
}

// On a GPU that multiplies halves, BF16 and TF32.
TEST(CudaSession, LowerPrecisions) {
  CompileOptions in_tf32 = for_device(), in_fp16 = for_device(), in_bf16 = for_device();
  in_tf32.tf32 = in_fp16.fp16 = in_bf16.bf16 = true;
  for (const CompileOptions& options : {in_tf32, in_fp16, in_bf16}) {
    for (const Message& model :
         {conv_model(), wide_conv_model(), wide_dense_model(), depthwise_model(), picture_model()}) {
      auto plan = build(model.bytes(), options);
      ASSERT_TRUE(plan) << plan.error().message;
      EXPECT_GE(steps_on_device(**plan), 1U);
      expect_outputs(model, *plan, {2, 2, 5}, options.bf16 ? 8e-2F : 1e-2F);
    }
  }
}

// Rivals of a device are measured where the device is, remembered, and decide.
TEST(CudaSession, Tuning) {
  const Message two_ways =
      model(graph({{node("Transpose", {"x"}, {"y"}, {attribute("perm", std::vector<int64_t>{0, 2, 1})})},
                   {value("x", {"N", 40, 24})},
                   {any_shape("y")},
                   {}}));
  TimingCache cache;
  CompileOptions options = for_device();
  options.timings = &cache;
  options.tune_seconds = 1;
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(40), Dim(24)}}};
  auto imported = onnx::import_bytes(two_ways.bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  CompileReport report;
  auto plan = compile_graph(imported->graph.clone(), options, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(report.tuning.skipped, "");
  EXPECT_EQ(report.tuning.measured, 1);
  EXPECT_EQ(cache.size(), 2U);
  EXPECT_TRUE(std::any_of(plan->graph.steps.begin(), plan->graph.steps.end(),
                          [](const PlanStep& step) { return step.report.find("measured") != std::string::npos; }));
  auto again = compile_graph(std::move(imported->graph), options, &report);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(report.tuning.measured, 0);
  expect_outputs(two_ways, std::make_shared<const Plan>(std::move(*again)), {2, 3});
}

// Between two steps of the device lies one of the host: a Hardmax, which has no kernel.
TEST(CudaSession, HostInBetween) {
  expect_same_outputs(model(graph({{node("Sin", {"x"}, {"a"}), node("Hardmax", {"a"}, {"b"}), node("Cos", {"b"}, {"c"}),
                                    node("Add", {"c", "a"}, {"y"})},
                                   {value("x", {"N", 7})},
                                   {any_shape("y")},
                                   {}})),
                      {3, 3, 5, 5, 3});
}

// What follows a step whose data decide on a shape runs on the host.
TEST(CudaSession, ShapesThatDependOnData) {
  expect_same_outputs(
      model(graph({{node("Sin", {"x"}, {"a"}), node("NonZero", {"a"}, {"b"}),
                    node("Cast", {"b"}, {"c"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
                    node("Cos", {"c"}, {"y"})},
                   {value("x", {"N", 3})},
                   {any_shape("y")},
                   {}})),
      {2, 2, 4, 2});
}

// Only a run tells that an index is out of range. The device cannot stop for it.
TEST(CudaSession, IndexOutOfRangeGivesZeros) {
  const Message gather = model(graph({{node("Gather", {"table", "i"}, {"y"})},
                                      {value("i", {3}, DType::kInt64)},
                                      {any_shape("y")},
                                      {tensor_of("table", DType::kFloat32, {2, 2}, std::vector<float>{1, 2, 3, 4})}}));
  auto plan = build(gather.bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(steps_on_device(**plan), 1U);
  auto session = Session::create(*plan);
  ASSERT_TRUE(session) << session.error().message;
  Tensor indices(DType::kInt64, {3});
  const int64_t values[] = {-1, 2, -3};
  std::copy(std::begin(values), std::end(values), indices.data<int64_t>());
  auto outputs = (*session)->run_in_order(std::span(&indices, 1));
  ASSERT_TRUE(outputs) << outputs.error().message;
  const float expected[] = {3, 4, 0, 0, 0, 0};
  for (int i = 0; i < 6; ++i) EXPECT_EQ((*outputs)[0].data<float>()[i], expected[i]);
}

// Constants of so many bytes are uploaded by several threads, through memory that is smaller than they are.
// What code is launched with is the program's, not the plan's.
TEST(CudaSession, RefusesCodeOfAnotherVersion) {
  auto plan = build(dense_model().bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  auto other = compile_plan(**plan, for_device());
  ASSERT_TRUE(other) << other.error().message;
  size_t changed = 0;
  for (PlanStep& step : other->graph.steps) {
    if (!step.attributes.has(kCodeAttribute)) continue;
    Ints code = step.attributes.get_ints(kCodeAttribute);
    ASSERT_EQ(code.size(), 2U);
    ++code[1], ++changed;
    step.attributes.set(kCodeAttribute, code);
  }
  ASSERT_GT(changed, 0U);
  auto inputs = make_inputs(*other, 1, 1, 100000);
  ASSERT_TRUE(inputs);
  auto session = Session::create(std::make_shared<const Plan>(std::move(*other)));
  auto outputs = session ? (*session)->run_in_order(*inputs) : tl::unexpected(session.error());
  ASSERT_FALSE(outputs);
  EXPECT_EQ(outputs.error().code, ErrorCode::kPlanIncompatible);
  EXPECT_NE(outputs.error().message.find("another version of hussar"), std::string::npos) << outputs.error().message;
}

TEST(CudaSession, LargeConstants) {
  constexpr int64_t kRows = 1 << 20, kColumns = 20;  // 80 MB
  std::vector<float> rows(static_cast<size_t>(kRows * kColumns));
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i] = static_cast<float>(i / kColumns) + static_cast<float>(i % kColumns) / 32;
  std::vector<float> bias(kColumns, 0.5F);
  const Message gather = model(graph({{node("Gather", {"table", "i"}, {"x"}), node("Add", {"x", "bias"}, {"y"})},
                                      {value("i", {1024}, DType::kInt64)},
                                      {any_shape("y")},
                                      {tensor_of("table", DType::kFloat32, {kRows, kColumns}, rows),
                                       tensor_of("bias", DType::kFloat32, {kColumns}, bias)}}));
  auto plan = build(gather.bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(steps_on_device(**plan), (*plan)->graph.steps.size());
  auto session = Session::create(*plan);
  ASSERT_TRUE(session) << session.error().message;
  Tensor indices(DType::kInt64, {1024});
  for (int64_t i = 0; i < 1024; ++i) indices.data<int64_t>()[i] = i * 1025 % kRows;
  auto outputs = (*session)->run_in_order(std::span(&indices, 1));
  ASSERT_TRUE(outputs) << outputs.error().message;
  const float* y = (*outputs)[0].data<float>();
  for (int64_t i = 0; i < 1024 * kColumns; ++i)
    ASSERT_EQ(y[i], rows[static_cast<size_t>(i / kColumns * 1025 % kRows * kColumns + i % kColumns)] + 0.5F) << i;
}

}  // namespace
}  // namespace hussar::tests
