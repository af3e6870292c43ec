// Whole models in INT8 without a calibration on a GPU: every row that a product reads has a scale of its own, found
// when the model runs. The emulated GPU passes for one of sm_80, and of sm_90.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "compile/compile.h"
#include "compile/difference.h"
#include "compile/quantization.h"
#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"

namespace hussar::tests {
namespace {

constexpr int64_t kBatch = 3, kLength = 24, kWords = 20;

class DynamicInt8OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    EncoderForm form;
    form.width = 64;
    form.inner = 96;
    form.layers = 2;
    form.dims = {"batch", kLength};
    model_ = encoder_model(form);
  }

  CompileOptions on_device(int emulated_sm) const {
    CompileOptions options = for_device();
    if (options.sm == 0) options.sm = emulated_sm;
    options.quantization = dynamic_quantization({}, true);
    options.chooses_int8 = false;
    return options;
  }
  std::shared_ptr<const Plan> plan(const CompileOptions& options) const {
    auto plan = build(model_.bytes(), options);
    EXPECT_TRUE(plan) << plan.error().message;
    return plan ? *plan : nullptr;
  }
  // The states of all tokens, of the sequences' own or of others beside the first.
  static Tensor states(const std::shared_ptr<const Plan>& plan, uint32_t others = 0,
                       const Ints& lengths = Ints(kBatch, kLength)) {
    auto session = Session::create(plan);
    EXPECT_TRUE(session) << session.error().message;
    std::vector<Tensor> inputs;
    for (int32_t input : plan->graph.inputs) {
      const bool is_mask = plan->graph.values[static_cast<size_t>(input)].name == "mask";
      Tensor tensor(DType::kInt64, Shape{kBatch, kLength});
      uint32_t seed = 7;
      for (int64_t i = 0; i < tensor.elements(); ++i) {
        if (i == kLength) seed += others;
        seed = seed * 1664525U + 1013904223U;
        tensor.data<int64_t>()[i] = is_mask ? i % kLength < lengths[static_cast<size_t>(i / kLength)]
                                            : static_cast<int64_t>((seed >> 16) % kWords);
      }
      inputs.push_back(tensor);
    }
    auto outputs = (*session)->run_in_order(inputs);
    EXPECT_TRUE(outputs) << outputs.error().message;
    return (*outputs)[0].clone();
  }
  static std::vector<const PlanStep*> steps_of(const Plan& plan, std::string_view op) {
    std::vector<const PlanStep*> steps;
    for (const PlanStep& step : plan.graph.steps) {
      if (step.op == op) steps.push_back(&step);
    }
    return steps;
  }

  Message model_;
};

TEST_F(DynamicInt8OnGpu, EveryProductOfRowsIsInInt8) {
  for (int sm : {80, 90}) {
    const auto made = plan(on_device(sm));
    ASSERT_NE(made, nullptr);
    const auto products = steps_of(*made, "hussar.QuantizedMatMul");
    EXPECT_EQ(products.size(), 9U);  // four of each layer, and what the pooled state is made of
    for (const PlanStep* step : products) {
      EXPECT_TRUE(step->kernel.starts_with("cuda_")) << step->kernel << "\n" << step->report;
      EXPECT_EQ(made->graph.values[static_cast<size_t>(step->inputs[0])].dtype, DType::kInt8);
    }
    EXPECT_TRUE(steps_of(*made, "DynamicQuantizeLinear").empty());
    const auto rows = steps_of(*made, "hussar.QuantizeRows");
    EXPECT_FALSE(rows.empty());
    for (const PlanStep* step : rows) EXPECT_EQ(step->kernel, "cuda_quantize_rows") << step->report;
    // Attention stays in floats, and the plan says why.
    const auto attentions = steps_of(*made, "hussar.Attention");
    ASSERT_EQ(attentions.size(), 2U);
    EXPECT_NE(attentions[0]->report.find("no INT8: "), std::string::npos) << attentions[0]->report;
  }
}

// Reference code of the same operators gives what the GPU gives, but for bytes that go the other way.
TEST_F(DynamicInt8OnGpu, AgreesWithReferenceCodeAndFloats) {
  CompileOptions in_floats;
  in_floats.threads = 1;
  const Tensor exact = states(plan(in_floats));
  for (const auto& [sm, fp16] : {std::pair{80, false}, {80, true}, {90, true}}) {
    SCOPED_TRACE("sm_" + std::to_string(sm) + (fp16 ? ", FP16" : ""));
    CompileOptions options = on_device(sm);
    options.fp16 = fp16;
    const auto made = plan(options);
    ASSERT_NE(made, nullptr);
    const Tensor on_gpu = states(made);
    EXPECT_GT(difference(exact, on_gpu).sqnr_db, 25);
    auto again = compile_plan(*made, {});
    ASSERT_TRUE(again) << again.error().message;
    const Tensor on_host = states(std::make_shared<const Plan>(std::move(*again)));
    EXPECT_GT(difference(on_host, on_gpu).sqnr_db, fp16 ? 35 : 40);
    // What a self-check compares with is made of the model, and does the same.
    in_floats.quantization = options.quantization;
    EXPECT_GT(difference(states(plan(in_floats)), on_gpu).sqnr_db, fp16 ? 35 : 40);
    in_floats.quantization = nullptr;
    EXPECT_GT(difference(exact, on_host).sqnr_db, 25);
  }
}

// A sequence's result is the same whatever is beside it, since no row shares a scale with another.
TEST_F(DynamicInt8OnGpu, SequencesDoNotDependOnTheirNeighbours) {
  CompileOptions options = on_device(80);
  options.fp16 = true;
  const auto made = plan(options);
  ASSERT_NE(made, nullptr);
  const Tensor one = states(made), other = states(made, 99);
  const int64_t of_sequence = one.elements() / kBatch;
  EXPECT_TRUE(std::equal(one.data<float>(), one.data<float>() + of_sequence, other.data<float>()));
  EXPECT_FALSE(std::equal(one.data<float>() + of_sequence, one.data<float>() + 2 * of_sequence,
                          other.data<float>() + of_sequence));
}

// Padding is left out of rows, their scales and products alike; what is a token is what it was.
TEST_F(DynamicInt8OnGpu, PaddingIsLeftOut) {
  CompileOptions options = on_device(80);
  options.fp16 = true;
  const auto whole = plan(options);
  options.packed = true;
  const auto packed = plan(options);
  ASSERT_TRUE(whole != nullptr && packed != nullptr);
  EXPECT_EQ(steps_of(*packed, "hussar.TokenOrder").size(), 1U);
  EXPECT_EQ(steps_of(*packed, "hussar.QuantizedMatMul").size(), steps_of(*whole, "hussar.QuantizedMatMul").size());
  for (const PlanStep* step : steps_of(*packed, "hussar.NormToRows"))
    EXPECT_TRUE(step->attributes.has("hussar_row_count")) << step->name;
  const Ints lengths = {kLength, 5, 17};
  const Tensor all = states(whole, 0, lengths), some = states(packed, 0, lengths);
  const int64_t width = all.elements() / (kBatch * kLength);
  Tensor tokens(DType::kFloat32, all.shape());
  for (int64_t i = 0; i < all.elements(); ++i) {
    const int64_t row = i / width;
    const bool is_token = row % kLength < lengths[static_cast<size_t>(row / kLength)];
    tokens.data<float>()[i] = is_token ? all.data<float>()[i] : 0;
  }
  EXPECT_GT(difference(tokens, some).sqnr_db, 30);
}

// Convolutions have no rows: they stay in floats, and say so.
TEST_F(DynamicInt8OnGpu, ConvolutionsSayWhyTheyStayInFloats) {
  auto made = build(conv_model().bytes(), on_device(0));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(steps_of(**made, "hussar.QuantizedConv").empty());
  for (const PlanStep* step : steps_of(**made, "Conv"))
    EXPECT_NE(step->report.find("no INT8: GPUs find ranges of the run for the rows of matrix products"),
              std::string::npos)
        << step->report;
  EXPECT_EQ(steps_of(**made, "Conv").size(), 2U);
}

// What ONNX Runtime's quantize_dynamic makes of y = softmax(x * w + b) * x, the second product of two activations.
Message quantized_in_model() {
  std::vector<int8_t> weights(size_t{48} * 48);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<int8_t>(i * 37 % 255 - 127);
  const auto to_float = attribute("to", static_cast<int64_t>(DType::kFloat32));
  return model(graph(
      {{node("DynamicQuantizeLinear", {"x"}, {"x8", "xs", "xz"}),
        node("MatMulInteger", {"x8", "w8", "xz", "wz"}, {"a32"}), node("Cast", {"a32"}, {"af"}, {to_float}),
        node("Mul", {"xs", "ws"}, {"s"}), node("Mul", {"af", "s"}, {"am"}), node("Add", {"am", "b"}, {"a"}),
        node("Softmax", {"a"}, {"p"}), node("DynamicQuantizeLinear", {"p"}, {"p8", "ps", "pz"}),
        node("MatMulInteger", {"p8", "x8", "pz", "xz"}, {"y32"}), node("Cast", {"y32"}, {"yf"}, {to_float}),
        node("Mul", {"xs", "ps"}, {"t"}), node("Mul", {"yf", "t"}, {"y"})},
       {value("x", {2, 48, 48})},
       {any_shape("y")},
       {tensor_of("w8", DType::kInt8, {48, 48}, weights), tensor_of("wz", DType::kInt8, {}, std::vector<int8_t>{0}),
        tensor_of("ws", DType::kFloat32, {}, std::vector<float>{0.003F}),
        tensor_of("b", DType::kFloat32, {48}, numbers(48, 5))}}));
}

// Nothing of it is left to the host, and it is what the host computes: sums are exact, bytes ONNX's.
TEST_F(DynamicInt8OnGpu, ModelsThatFindTheirRangesRunOnTheDevice) {
  CompileOptions options = for_device();
  if (options.sm == 0) options.sm = 80;
  auto made = build(quantized_in_model().bytes(), options);
  ASSERT_TRUE(made) << made.error().message;
  for (const PlanStep& step : (*made)->graph.steps)
    EXPECT_TRUE(step.kernel.starts_with("cuda_") || step.kernel == "view") << step.op << "\n" << step.report;
  EXPECT_GE(steps_of(**made, "DynamicQuantizeLinear").size(), 2U);
  EXPECT_EQ(steps_of(**made, "hussar.QuantizedMatMul").size(), 1U);
  EXPECT_EQ(steps_of(**made, "hussar.IntegerMatMul").size(), 1U);
  CompileOptions host;
  host.threads = 1;
  auto on_host = build(quantized_in_model().bytes(), host);
  ASSERT_TRUE(on_host) << on_host.error().message;
  // A byte of the softmax may go the other way.
  EXPECT_LT(largest_difference(first_output_of(*made), first_output_of(*on_host)), 2e-2);
}

// What bench/problems/dynamic_gpu.txt asks to be measured is what kernels of a GPU do.
TEST(DynamicInt8Problems, AreTakenByTheDevice) {
  std::ifstream file(HUSSAR_TESTS "/../bench/problems/dynamic_gpu.txt");
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    auto problem = parse_problem(line.substr(line.find(": ") + 2));
    ASSERT_TRUE(problem) << problem.error().message;
    EXPECT_TRUE(has_own_kernel(Problem{*problem->node, target}));
    ++count;
  }
  EXPECT_GE(count, 10);
}

}  // namespace
}  // namespace hussar::tests
