// Plans whose 2:4 weights cuSPARSELt multiplies: choosing, measuring, other shapes, and building them again.
#include <gtest/gtest.h>

#include "backends/cuda/cusparselt.h"
#include "onnx/import.h"
#include "tests/support/device_models.h"
#include "tests/support/emulated_device.h"
#include "tests/support/fake_libraries.h"

namespace hussar::tests {
namespace {

constexpr const char* kMissing = "skipped: needs cuSPARSELt";

// x[N,16,k] -> MatMul + b -> Relu -> y of 32 columns, with two of each four weights along k.
Message product_model(int64_t k) {
  constexpr int64_t kColumns = 32;
  std::vector<float> weights = numbers(static_cast<size_t>(k * kColumns), 7);
  for (int64_t i = 0; i < k * kColumns; ++i) {
    const int64_t depth = i / kColumns, column = i % kColumns;
    if ((depth + column) % 4 >= 2) weights[static_cast<size_t>(i)] = 0;
  }
  return model(graph({{node("MatMul", {"x", "w"}, {"m"}), node("Add", {"m", "b"}, {"a"}), node("Relu", {"a"}, {"y"})},
                      {value("x", {"N", 16, k})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {k, kColumns}, weights),
                       tensor_of("b", DType::kFloat32, {kColumns}, numbers(kColumns, 5))}}));
}

size_t sparse_steps_of(const Plan& plan) {
  size_t count = 0;
  for (const PlanStep& step : plan.graph.steps) count += step.kernel == "cuda_product_cusparselt" ? 1 : 0;
  return count;
}

CompileOptions with(Libraries libraries) {
  CompileOptions options = for_device();
  options.libraries = libraries;
  options.fp16 = true;
  return options;
}

std::vector<float> outputs_of(Session& session, const Plan& plan, int64_t batch) {
  auto inputs = make_inputs(plan, 1, batch, 100000);
  EXPECT_TRUE(inputs);
  auto outputs = session.run_in_order(*inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  if (!inputs || !outputs) return {};
  const Tensor& y = (*outputs)[0];
  return {y.data<float>(), y.data<float>() + y.elements()};
}

void expect_outputs(const std::shared_ptr<const Plan>& plan, int64_t k, const std::vector<int64_t>& batches) {
  CompileOptions reference;
  reference.reference_only = true;
  auto expected_plan = build(product_model(k).bytes(), reference);
  ASSERT_TRUE(expected_plan) << expected_plan.error().message;
  auto expected = Session::create(*expected_plan);
  auto session = Session::create(plan);
  ASSERT_TRUE(session) << session.error().message;
  for (int64_t batch : batches) {
    const auto wanted = outputs_of(**expected, **expected_plan, batch);
    EXPECT_LT(largest_difference(outputs_of(**session, *plan, batch), wanted), 4e-3) << batch;
  }
}

// The first run of a shape records, the second replays. What is built again for a CPU has its weights back.
TEST(CudaSparseLibrarySession, OnlyLibraries) {
  if (!use_libraries() || !use_sparse_library()) GTEST_SKIP() << kMissing;
  auto plan = build(product_model(64).bytes(), with(Libraries::kOnly));
  ASSERT_TRUE(plan) << plan.error().message;
  // On a GPU a dense product of cuBLASLt may be the choice.
  if (is_emulated(use_test_device())) EXPECT_EQ(sparse_steps_of(**plan), 1U);
  expect_outputs(*plan, 64, {2, 2, 3, 2});
  auto rebuilt = compile_plan(**plan, {});
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  expect_outputs(std::make_shared<const Plan>(std::move(*rebuilt)), 64, {2});
}

// Weights are compressed once: a shape more allocates no place for them.
TEST(CudaSparseLibrarySession, WeightsAreCompressedOnce) {
  if (!use_libraries() || !use_sparse_library()) GTEST_SKIP() << kMissing;
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "skipped: the emulated device counts";
  auto plan = build(product_model(64).bytes(), with(Libraries::kOnly));
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(sparse_steps_of(**plan), 1U);
  auto session = Session::create(*plan);
  ASSERT_TRUE(session) << session.error().message;
  const int64_t before = device_counts().bytes_in;
  outputs_of(**session, **plan, 4);
  const int64_t first = device_counts().bytes_in - before;
  outputs_of(**session, **plan, 2);
  const int64_t second = device_counts().bytes_in - before - first;
  // Half of the input; of the rest only the bias comes with another shape.
  constexpr int64_t kInput = 4 * 16 * 64 * 4, kWeights = 64 * 32 * 2;
  EXPECT_GE(first, kInput + kWeights);
  EXPECT_LT(second, kInput / 2 + kWeights);
}

// It is a rival like others, in every algorithm, and times go by its version.
TEST(CudaSparseLibrarySession, IsMeasured) {
  if (!use_libraries() || !use_sparse_library()) GTEST_SKIP() << kMissing;
  TimingCache cache;
  CompileOptions options = with(Libraries::kOn);
  options.timings = &cache;
  options.tune_seconds = 30;  // on a GPU that compiling takes long for, too
  // Where calls of the host are timed, all take as long: who is slow is not measured in every way.
  if (is_emulated(use_test_device()))
    options.tune_clock = [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(16), Dim(64)}}};
  auto imported = onnx::import_bytes(product_model(64).bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  CompileReport report;
  auto plan = compile_graph(std::move(imported->graph), options, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(report.tuning.skipped, "");
  const std::string version = (*cuda::sparselt::functions())->version, known = cache.to_string();
  EXPECT_NE(known.find("\tcuda_product_cusparselt@1 " + version + "\t"), std::string::npos) << known;
  if (is_emulated(use_test_device())) {
    EXPECT_NE(known.find("\tcuda_product_cusparselt:algo_1@1 " + version + "\t"), std::string::npos) << known;
    EXPECT_NE(known.find("\tcuda_product_cusparselt:split_k@1 " + version + "\t"), std::string::npos) << known;
  }
  expect_outputs(std::make_shared<const Plan>(std::move(*plan)), 64, {2, 5});
}

// What it does not take when it sees the device is left to others.
TEST(CudaSparseLibrarySession, WhatTheLibraryRefuses) {
  if (!use_libraries() || !use_sparse_library()) GTEST_SKIP() << kMissing;
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "skipped: only the stand-in refuses a k of 96";
  TimingCache cache;
  CompileOptions options = with(Libraries::kOnly);
  options.timings = &cache;
  options.tune_seconds = 30;
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(16), Dim(96)}}};
  auto imported = onnx::import_bytes(product_model(96).bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  auto plan = compile_graph(std::move(imported->graph), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(sparse_steps_of(*plan), 0U);
  bool says_so = false;
  for (const PlanStep& step : plan->graph.steps)
    says_so = says_so || step.report.find("cusparselt: refused, the library does not take it") != std::string::npos;
  EXPECT_TRUE(says_so);
  expect_outputs(std::make_shared<const Plan>(std::move(*plan)), 96, {2});
}

// Nor are masks made use of that nobody wants to be.
TEST(CudaSparseLibrarySession, NotWithoutSparsity) {
  if (!use_libraries() || !use_sparse_library()) GTEST_SKIP() << kMissing;
  CompileOptions options = with(Libraries::kOnly);
  options.sparsity = false;
  auto plan = build(product_model(64).bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(sparse_steps_of(**plan), 0U);
}

}  // namespace
}  // namespace hussar::tests
