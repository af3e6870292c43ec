// Zeros of pruned weights through all that changes weights on the way to a plan: folded batch norms, scaled and turned
// products, smoothing, adaptive rounding, corrected biases, INT8 and FP16.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/cpu/isa.h"
#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/optimize.h"
#include "compile/prune_model.h"
#include "compile/quantization.h"
#include "compile/thaw.h"
#include "onnx/import.h"
#include "tactics/tactic.h"
#include "tensor/mask_width.h"
#include "tests/support/folder.h"
#include "tests/support/prune_network.h"

namespace hussar {
namespace {

using namespace tests;

constexpr int64_t kSide = 8;
const std::vector<std::string> kPruned = {"wide", "point", "gemm", "product"};

std::vector<float> positive(size_t count, uint32_t seed, float spread) {
  std::vector<float> values = normal(count, seed, spread);
  for (float& value : values) value = std::exp(value);
  return values;
}

// Four inputs of a BatchNormalization whose channels differ much: that is what smoothing is for.
std::vector<Message> norm(const char* prefix, int64_t channels, uint32_t seed) {
  const auto count = static_cast<size_t>(channels);
  const std::string name = prefix;
  return {tensor_of((name + "s").c_str(), DType::kFloat32, {channels}, positive(count, seed, 1.2F)),
          tensor_of((name + "b").c_str(), DType::kFloat32, {channels}, normal(count, seed + 1)),
          tensor_of((name + "m").c_str(), DType::kFloat32, {channels}, normal(count, seed + 2, 0.3F)),
          tensor_of((name + "v").c_str(), DType::kFloat32, {channels}, positive(count, seed + 3, 0.5F))};
}

Message factor(const char* name, float value) { return Message().text(1, name).real(2, value).varint(20, 1); }

Message normalized_network() {
  std::vector<Message> tensors = {weights("w1", {64, 4, 3, 3}, 1),   weights("w2", {64, 64, 3, 3}, 2),
                                  weights("w3", {128, 64, 1, 1}, 4), weights("w4", {128, 128}, 5),
                                  weights("w5", {128, 64}, 7),       weights("w6", {64, 10}, 9)};
  for (const auto& [prefix, channels] : {std::pair("n1", 64), std::pair("n2", 64), std::pair("n3", 128)}) {
    for (Message& tensor : norm(prefix, channels, static_cast<uint32_t>(prefix[1]) * 10))
      tensors.push_back(std::move(tensor));
  }
  auto normalized = [](const std::string& n, const std::string& x, const std::string& y) {
    return named(("norm_" + n).c_str(), "BatchNormalization", {x, n + "s", n + "b", n + "m", n + "v"}, {y});
  };
  return model(graph(
      {{named("stem", "Conv", {"x", "w1"}, {"a"}, pads()), normalized("n1", "a", "an"),
        named("r1", "Relu", {"an"}, {"ar"}), named("wide", "Conv", {"ar", "w2"}, {"b"}, pads()),
        normalized("n2", "b", "bn"), named("r2", "Relu", {"bn"}, {"br"}), named("point", "Conv", {"br", "w3"}, {"c"}),
        normalized("n3", "c", "cn"), named("r3", "Relu", {"cn"}, {"cr"}),
        named("pool", "GlobalAveragePool", {"cr"}, {"e"}), named("flat", "Flatten", {"e"}, {"f"}),
        named("gemm", "Gemm", {"f", "w4"}, {"g"}, {attribute("transB", 1), factor("alpha", 0.5F)}),
        named("r4", "Relu", {"g"}, {"gr"}), named("product", "MatMul", {"gr", "w5"}, {"h"}),
        named("r5", "Relu", {"h"}, {"hr"}), named("head", "MatMul", {"hr", "w6"}, {"y"})},
       {value("x", {"N", 4, kSide, kSide})},
       {any_shape("y")},
       tensors}));
}

class Samples : public DataSource {
 public:
  Result<bool> next(DataBatch& batch) override {
    if (is_done_) return false;
    is_done_ = true;
    const Shape shape = {160, 4, kSide, kSide};
    batch.tensors = {
        {"x", Tensor::from<float>(DType::kFloat32, shape, normal(static_cast<size_t>(shape.elements()), 3))}};
    return true;
  }

 private:
  bool is_done_ = false;
};

class MasksSurvive : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_file_atomically(folder_.file("m.onnx"), {normalized_network().bytes()}));
    ModelPruneOptions options;
    options.layer.method = PruneMethod::kMagnitude;
    options.layer.pattern.shared_rows = GetParam();
    options.only = kPruned;
    auto report = prune_model(folder_.file("m.onnx"), nullptr, folder_.file("p.onnx"), options);
    ASSERT_TRUE(report) << report.error().message;
  }

  Graph imported() const { return std::move(onnx::import_file(folder_.file("p.onnx"))->graph); }

  // All pruned products are there, and as sparse as they were.
  void expect_masks(const Graph& graph, bool is_int8) const {
    for (const std::string& name : kPruned) {
      int found = 0;
      for (const auto& node : graph.nodes()) {
        if (node->name != name && !node->name.starts_with(name + "+")) continue;
        if (!has_weight_form(*node)) continue;
        ++found;
        EXPECT_EQ(node->op.starts_with("hussar.Quantized"), is_int8) << describe(*node);
        EXPECT_GE(mask_width(*node->inputs[1]->constant, weight_form(*node)), GetParam()) << describe(*node);
      }
      EXPECT_EQ(found, 1) << name;
    }
  }

  void expect_masks_in_plans(CompileOptions options, bool is_int8) const {
    options.threads = 1;
    auto optimized = optimize_graph(imported(), options);
    ASSERT_TRUE(optimized) << optimized.error().message;
    for (const auto& node : optimized->nodes()) EXPECT_NE(node->op, "BatchNormalization");
    expect_masks(*optimized, is_int8);
    auto plan = compile_graph(imported(), options);
    ASSERT_TRUE(plan) << plan.error().message;
    auto thawed = thaw(*plan);
    ASSERT_TRUE(thawed) << thawed.error().message;
    expect_masks(*thawed, is_int8);
    for (const PlanStep& step : plan->graph.steps) kernels_.push_back(step.kernel);
  }

  bool has_kernel(std::string_view part) const {
    return std::any_of(kernels_.begin(), kernels_.end(),
                       [&](const std::string& name) { return name.find(part) != std::string::npos; });
  }

  Folder folder_;
  mutable std::vector<std::string> kernels_;
};

TEST_P(MasksSurvive, FoldingInFp32) {
  for (cpu::Isa isa : {cpu::Isa::kScalar, cpu::Isa::kAvx2, cpu::Isa::kAvx512}) {
    CompileOptions options;
    options.isa = static_cast<int>(isa);
    expect_masks_in_plans(options, false);
  }
  EXPECT_EQ(has_kernel("conv_sparse"), GetParam() > 1);
}

TEST_P(MasksSurvive, Fp16) {
  CompileOptions options;
  options.isa = static_cast<int>(cpu::Isa::kAvx512Fp16);
  options.fp16 = true;
  options.sparsity = false;
  expect_masks_in_plans(options, false);
  EXPECT_TRUE(has_kernel("fp16"));
}

TEST_P(MasksSurvive, SmoothingRoundingAndInt8) {
  for (Rounding rounding : {Rounding::kNearest, Rounding::kAdaptive}) {
    Samples samples;
    CalibrateOptions calibrating;
    calibrating.rounding = rounding;
    auto calibration = calibrate(folder_.file("p.onnx"), samples, calibrating);
    ASSERT_TRUE(calibration) << calibration.error().message;
    EXPECT_FALSE(calibration->smoothings.empty());
    bool has_flips = false, has_biases = false;
    for (const auto& [name, product] : calibration->products) {
      has_flips |= !product.flips.empty();
      has_biases |= !product.bias.empty();
      // The 3 x 3 convolution, whose input is divided: nine elements of a row for each divisor.
      if (name == "br" && !product.flips.empty()) {
        EXPECT_LT(product.error, product.nearest_error);
      }
    }
    EXPECT_EQ(has_flips, rounding == Rounding::kAdaptive);
    // Flips leave little for biases to correct.
    EXPECT_TRUE(has_biases || has_flips);
    for (cpu::Isa isa : {cpu::Isa::kAvx2, cpu::Isa::kAvx512}) {
      CompileOptions options;
      options.isa = static_cast<int>(isa);
      options.quantization = quantization_of(*calibration, Method::kAuto);
      expect_masks_in_plans(options, true);
    }
    EXPECT_EQ(has_kernel("conv_int8_sparse"), GetParam() > 1);
    // In FP8 by reference code: there are no kernels of CPUs.
    CompileOptions options;
    options.quantization = fp8_quantization_of(*calibration, Method::kAuto, {});
    expect_masks_in_plans(options, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, MasksSurvive, testing::Values(1, 64));

}  // namespace
}  // namespace hussar
