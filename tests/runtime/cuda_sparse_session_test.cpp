// Whole models with 2:4 weights in every precision that has sparse products, on a GPU of Hopper: an emulated one where
// there is none.
#include <gtest/gtest.h>

#include <cmath>

#include "compile/compile.h"
#include "compile/fp8.h"
#include "compile/precision.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// Of [k][n] along k, or of [n][k] along k where `k_is_last`: two of each four are zero, in every column two others.
// Zeros of either sign.
std::vector<float> two_of_four(size_t k, size_t n, bool k_is_last, size_t taps = 1) {
  std::vector<float> values(k * n * taps);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t depth = k_is_last ? i / taps % k : i / n, column = k_is_last ? i / taps / k : i % n;
    const bool is_kept = depth % 4 == (column + depth / 4) % 4 || depth % 4 == (column + depth / 4 + 1) % 4;
    const float zero = i % 2 == 0 ? 0.0F : -0.0F;
    values[i] = is_kept ? 0.02F * static_cast<float>(static_cast<int>(i % 23) - 11) : zero;
  }
  return values;
}

Message product_model() {
  return model(graph({{node("LayerNormalization", {"x", "g", "h"}, {"a"}), node("MatMul", {"a", "w"}, {"b"}),
                       node("Relu", {"b"}, {"y"})},
                      {value("x", {1024, 128})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {128, 512}, two_of_four(128, 512, false)),
                       tensor_of("g", DType::kFloat32, {128}, std::vector<float>(128, 1.0F)),
                       tensor_of("h", DType::kFloat32, {128}, std::vector<float>(128, 0.1F))}}));
}

Message conv_model() {
  const auto pads = attribute("pads", std::vector<int64_t>{1, 1, 1, 1});
  return model(
      graph({{node("Conv", {"x", "v"}, {"b"}), node("Relu", {"b"}, {"a"}), node("Conv", {"a", "w"}, {"y"}, {pads})},
             {value("x", {32, 8, 6, 6})},
             {any_shape("y")},
             {tensor_of("v", DType::kFloat32, {128, 8, 1, 1}, two_of_four(8, 128, true)),
              tensor_of("w", DType::kFloat32, {512, 128, 3, 3}, two_of_four(128, 512, true, 9))}}));
}

// In the precision that the options are for, sparse where that is predicted to be faster and dense with --sparsity off;
// both give what reference code gives, and so does the sparse plan when it is built again for a CPU.
void expect_sparse(const Message& network, std::string_view kernel, const std::string& precision,
                   CompileOptions options, double tolerance) {
  SCOPED_TRACE(precision);
  CompileOptions reference;
  reference.reference_only = true;
  reference.quantization = options.quantization;
  auto expected = build(network.bytes(), reference);
  ASSERT_TRUE(expected) << expected.error().message;
  const std::vector<float> wanted = first_output_of(*expected);
  for (bool sparse : {true, false}) {
    options.sparsity = sparse;
    auto plan = build(network.bytes(), options);
    ASSERT_TRUE(plan) << plan.error().message;
    int products = 0;
    for (const PlanStep& step : (*plan)->graph.steps) {
      const Ints* packed = step.attributes.find<Ints>("hussar_packed_1");
      if (packed == nullptr || Shape(*packed).elements() < 60000) continue;
      ++products;
      EXPECT_EQ(precision_name((*plan)->graph, step), precision);
      EXPECT_EQ(step.kernel == kernel, sparse) << step.kernel << "\n" << step.report;
    }
    EXPECT_EQ(products, 1);
    EXPECT_LT(largest_difference(first_output_of(*plan), wanted), tolerance) << (sparse ? "sparse" : "dense");
    if (!sparse) continue;
    auto rebuilt = compile_plan(**plan, {});
    ASSERT_TRUE(rebuilt) << rebuilt.error().message;
    EXPECT_LT(largest_difference(first_output_of(std::make_shared<const Plan>(std::move(*rebuilt))), wanted), tolerance)
        << "built again";
  }
}

void expect_sparse_in_all(const Message& network, std::string_view kernel, float range) {
  CompileOptions options = for_device();
  if (is_emulated(use_test_device())) options.sm = 90;
  if (options.sm != 90) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  options.fp16 = true;
  options.chooses_int8 = false;
  expect_sparse(network, kernel, "float16", options, 2e-3);
  // What is quantized has no negative numbers, or an offset that makes them positive.
  auto quantization = std::make_shared<Quantization>();
  const bool is_conv = kernel.find("conv") != std::string_view::npos;
  quantization->activations = {{"a", {range / 255, is_conv ? 0 : 128}}};
  options.quantization = quantization;
  expect_sparse(network, kernel, "int8", options, 3e-2);
  options.quantization = in_fp8(*quantization);
  expect_sparse(network, kernel, "fp8", options, 1e-1);
}

TEST(CudaSparseSession, Products) { expect_sparse_in_all(product_model(), "cuda_product_sparse", 8); }

TEST(CudaSparseSession, Convolutions) { expect_sparse_in_all(conv_model(), "cuda_conv_sparse", 4); }

}  // namespace
}  // namespace hussar::tests
