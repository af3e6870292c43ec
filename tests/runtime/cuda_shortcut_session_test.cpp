// Residual blocks whose shortcuts are convolutions on the test device: one step for both last convolutions of a block,
// beside the same network in which they are two.
#include <gtest/gtest.h>

#include <algorithm>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "plan/kernel.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// A convolution and two blocks as those of ResNet: the first with stride 2, the second with stride 1, where `t` is
// added from the left.
Message blocks(const std::vector<std::string>& outputs = {"y"}) {
  auto ints = [](const char* name, std::vector<int64_t> values) { return attribute(name, std::move(values)); };
  std::vector<Message> nodes, constants;
  auto conv = [&](const std::string& x, const std::string& y, int64_t from, int64_t to, int64_t side, int64_t stride) {
    constants.push_back(
        tensor_of(y + "_w", DType::kFloat32, {to, from, side, side},
                  numbers(static_cast<size_t>(to * from * side * side), 3 + 2 * static_cast<int>(to % 7))));
    constants.push_back(tensor_of(y + "_b", DType::kFloat32, {to}, numbers(static_cast<size_t>(to), 5)));
    nodes.push_back(node("Conv", {x, y + "_w", y + "_b"}, {y},
                         {ints("strides", {stride, stride}), ints("pads", std::vector<int64_t>(4, side / 2))}));
  };
  auto act = [&](const std::string& op, std::vector<std::string> from, const std::string& to) {
    nodes.push_back(node(op, std::move(from), {to}));
  };
  conv("p", "o", 16, 32, 3, 1);
  act("Relu", {"o"}, "x");
  conv("x", "a", 32, 32, 1, 1);
  act("Relu", {"a"}, "ar");
  conv("ar", "b", 32, 48, 3, 2);
  act("Relu", {"b"}, "br");
  conv("br", "c", 48, 96, 1, 1);
  conv("x", "s", 32, 96, 1, 2);
  act("Add", {"c", "s"}, "cs");
  act("Relu", {"cs"}, "r");
  conv("r", "d", 96, 48, 1, 1);
  act("Relu", {"d"}, "dr");
  conv("dr", "e", 48, 80, 1, 1);
  conv("r", "t", 96, 80, 1, 1);
  act("Add", {"t", "e"}, "te");
  act("Relu", {"te"}, "q");
  conv("q", "y", 80, 32, 1, 1);
  std::vector<Message> results;
  for (const std::string& output : outputs) results.push_back(any_shape(output));
  return model(graph({nodes, {value("p", {2, 16, 11, 9})}, results, constants}));
}

std::shared_ptr<const Plan> plan_of(const Message& network, const CompileOptions& options) {
  auto plan = build(network.bytes(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

int64_t count(const Plan& plan, std::string_view op) {
  return std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                       [&](const PlanStep& step) { return step.op == op; });
}

// Of a run in floats.
std::shared_ptr<const Quantization> quantization_of_blocks() {
  auto quantization = std::make_shared<Quantization>();
  CompileOptions exact;
  exact.reference_only = true;
  const std::vector<std::string> names = {"x", "ar", "br", "c", "s", "r", "dr", "e", "t", "q"};
  const auto plan = plan_of(blocks(names), exact);
  auto session = Session::create(plan);
  auto inputs = make_inputs(*plan, 1, 1, 1000000);
  EXPECT_TRUE(session && inputs);
  std::vector<Tensor> values = {(*inputs)[0]};
  auto outputs = (*session)->run_in_order(*inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  values.insert(values.end(), outputs->begin(), outputs->end());
  for (size_t i = 0; i < values.size(); ++i) {
    const float* numbers = values[i].data<float>();
    const auto [low, high] = std::minmax_element(numbers, numbers + values[i].elements());
    const float scale = (std::max(*high, 0.0F) - std::min(*low, 0.0F)) / 255;
    const auto zero_point = static_cast<int32_t>(std::lround(-std::min(*low, 0.0F) / scale));
    quantization->activations[i == 0 ? "p" : names[i - 1]] = {scale, zero_point};
  }
  return quantization;
}

CompileOptions options_of(std::string_view precision) {
  CompileOptions options = for_device();
  if (options.sm == 0) options.sm = 90;  // what the emulated one passes for
  options.fp16 = precision != "bf16" && precision != "fp32" && precision != "tf32";
  options.bf16 = precision == "bf16";
  options.tf32 = precision == "tf32";
  options.chooses_int8 = false;
  if (precision == "int8" || precision == "fp8") options.quantization = quantization_of_blocks();
  if (precision == "fp8") options.quantization = in_fp8(*options.quantization);
  return options;
}

bool has_hopper() { return options_of("fp16").sm == 90; }

constexpr std::pair<std::string_view, double> kPrecisions[] = {
    {"fp16", 4e-3}, {"bf16", 3e-2}, {"tf32", 4e-3}, {"int8", 3e-2}, {"fp8", 1.5e-1}};

// The largest difference from the same network in floats.
double error_of(const std::shared_ptr<const Plan>& plan) {
  CompileOptions exact;
  exact.reference_only = true;
  return largest_difference(first_output_of(plan), first_output_of(plan_of(blocks(), exact)));
}

TEST(CudaShortcut, OneStepForBothConvolutions) {
  if (!has_hopper()) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [precision, tolerance] : kPrecisions) {
    SCOPED_TRACE(precision);
    CompileOptions options = options_of(precision);
    const auto plan = plan_of(blocks(), options);
    options.disabled_passes = {"merge_shortcut"};
    const auto apart = plan_of(blocks(), options);
    ASSERT_TRUE(plan && apart);
    const bool of_bytes = options.quantization != nullptr;
    EXPECT_EQ(count(*plan, of_bytes ? "hussar.QuantizedConvSum" : "hussar.ConvSum"), 2);
    EXPECT_EQ(count(*plan, of_bytes ? "hussar.QuantizedConv" : "Conv"), of_bytes ? 4 : 5);
    EXPECT_EQ(plan->graph.steps.size() + 2, apart->graph.steps.size());
    EXPECT_LT(largest_difference(first_output_of(plan), first_output_of(apart)), tolerance);
    // What is not rounded in between makes nothing worse.
    EXPECT_LE(error_of(plan), 1.2 * error_of(apart));
    for (const PlanStep& step : plan->graph.steps) {
      if (!step.op.ends_with("ConvSum")) continue;
      EXPECT_EQ(step.kernel, "cuda_conv_sum_hopper");
      EXPECT_EQ(std::count(step.name.begin(), step.name.end(), '+'), 3) << step.name;
    }
  }
}

// Without a GPU of Hopper, on libraries, or where the shortcut is wanted by somebody else, there is nothing to merge.
TEST(CudaShortcut, LeavesOthersAlone) {
  CompileOptions options = options_of("fp16");
  auto sums_of = [&](const Message& network) {
    const auto plan = plan_of(network, options);
    return plan == nullptr ? -1 : count(*plan, "hussar.ConvSum");
  };
  if (has_hopper()) {
    EXPECT_EQ(sums_of(blocks({"y", "s"})), 1);
    EXPECT_EQ(sums_of(blocks({"s", "y", "e"})), 0);
  }
  if (!is_emulated(use_test_device())) return;
  options.sm = 80;
  EXPECT_EQ(sums_of(blocks()), 0);
}

// Plans are built again for CPUs, for other GPUs and for the same one.
TEST(CudaShortcut, BuiltAgain) {
  if (!has_hopper()) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [precision, tolerance] : kPrecisions) {
    if (precision == "tf32" || precision == "fp8") continue;
    SCOPED_TRACE(precision);
    CompileOptions options = options_of(precision);
    const auto plan = plan_of(blocks(), options);
    ASSERT_NE(plan, nullptr);
    auto expect_same = [&, limit = tolerance](const CompileOptions& others, int64_t sums) {
      auto again = compile_plan(*plan, others);
      ASSERT_TRUE(again) << again.error().message;
      EXPECT_EQ(count(*again, "hussar.ConvSum") + count(*again, "hussar.QuantizedConvSum"), sums);
      for (const PlanStep& step : again->graph.steps) EXPECT_NE(step.kernel, kReferenceKernel) << step.name;
      EXPECT_LT(
          largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*again))), first_output_of(plan)),
          limit);
    };
    expect_same(CompileOptions{}, 0);
    options.quantization = nullptr;
    expect_same(options, 2);
    if (!is_emulated(use_test_device())) continue;
    options.sm = 80;
    expect_same(options, 0);
  }
}

}  // namespace
}  // namespace hussar::tests
