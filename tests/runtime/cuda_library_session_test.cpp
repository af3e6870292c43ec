// Plans that need NVIDIA's libraries: choosing, measuring, opening and building them again.
#include <gtest/gtest.h>

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/emulation.h"
#include "backends/cuda/libraries.h"
#include "onnx/import.h"
#include "tests/support/device_models.h"
#include "tests/support/fake_libraries.h"

namespace hussar::tests {
namespace {

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.02F * static_cast<float>(static_cast<int>(i % 23) - 11);
  return values;
}

// x[N,8,H,W] -> Conv -> Relu -> Reshape -> MatMul + b -> y: one step for each library. `kernel` is odd.
Message both_model(int64_t kernel = 3) {
  const std::vector<int64_t> pads(4, kernel / 2);
  return model(graph(
      {{node("Conv", {"x", "w", "b"}, {"a"}, {attribute("pads", pads)}), node("Relu", {"a"}, {"p"}),
        node("Reshape", {"p", "shape"}, {"r"}), node("MatMul", {"r", "v"}, {"m"}), node("Add", {"m", "c"}, {"y"})},
       {value("x", {"N", 8, "H", "W"})},
       {any_shape("y")},
       {tensor_of("w", DType::kFloat32, {16, 8, kernel, kernel}, ramp(static_cast<size_t>(128 * kernel * kernel))),
        tensor_of("b", DType::kFloat32, {16}, ramp(16)),
        tensor_of("shape", DType::kInt64, {2}, std::vector<int64_t>{-1, 16}),
        tensor_of("v", DType::kFloat32, {16, 24}, ramp(384)), tensor_of("c", DType::kFloat32, {24}, ramp(24))}}));
}

size_t steps_of(const Plan& plan, std::string_view kernel) {
  size_t count = 0;
  for (const PlanStep& step : plan.graph.steps) count += step.kernel == kernel ? 1 : 0;
  return count;
}

void expect_outputs(const std::shared_ptr<const Plan>& plan, const std::vector<int64_t>& symbols, int64_t kernel = 3) {
  CompileOptions reference;
  reference.reference_only = true;
  auto expected_plan = build(both_model(kernel).bytes(), reference);
  ASSERT_TRUE(expected_plan) << expected_plan.error().message;
  auto expected_session = Session::create(*expected_plan);
  auto session = Session::create(plan);
  ASSERT_TRUE(session) << session.error().message;
  for (int64_t symbol : symbols) {
    auto inputs = make_inputs(*plan, 1, symbol, 100000);
    ASSERT_TRUE(inputs);
    auto expected = (*expected_session)->run_in_order(*inputs), outputs = (*session)->run_in_order(*inputs);
    ASSERT_TRUE(expected) << expected.error().message;
    ASSERT_TRUE(outputs) << outputs.error().message;
    for (int64_t i = 0; i < (*outputs)[0].elements(); ++i) {
      const float wanted = (*expected)[0].data<float>()[i];
      ASSERT_NEAR((*outputs)[0].data<float>()[i], wanted, 1e-4F * std::fmax(1.0F, std::fabs(wanted))) << i;
    }
  }
}

CompileOptions with(Libraries libraries) {
  CompileOptions options = for_device();
  options.libraries = libraries;
  return options;
}

// The first run of a shape records, the second replays. What is built again for a CPU has its weights back.
TEST(CudaLibrarySession, OnlyLibraries) {
  if (!use_libraries()) GTEST_SKIP() << "skipped: needs cuBLASLt and cuDNN";
  auto plan = build(both_model().bytes(), with(Libraries::kOnly));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(steps_of(**plan, "cuda_conv_cudnn"), 1U);
  EXPECT_EQ(steps_of(**plan, "cuda_product_cublaslt"), 1U);
  for (const PlanStep& step : (*plan)->graph.steps) {
    if (step.kernel != "cuda_product_cublaslt") continue;
    EXPECT_NE(step.report.find("cuda_matmul_simple: refused, --libraries only"), std::string::npos) << step.report;
  }
  expect_outputs(*plan, {2, 2, 3, 2});
  auto rebuilt = compile_plan(**plan, {});
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  expect_outputs(std::make_shared<const Plan>(std::move(*rebuilt)), {2});
}

// They are rivals like others, and times go by their versions.
TEST(CudaLibrarySession, LibrariesAreMeasured) {
  if (!use_libraries()) GTEST_SKIP() << "skipped: needs cuBLASLt and cuDNN";
  TimingCache cache;
  CompileOptions options = with(Libraries::kOn);
  options.timings = &cache;
  options.tune_seconds = 30;  // on a GPU that compiling takes long for, too
  // Where calls of the host are timed, all take as long: who is slow is not measured in every way.
  if (is_emulated(use_test_device()))
    options.tune_clock = [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(8), Dim(6), Dim(6)}}};
  auto imported = onnx::import_bytes(both_model().bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  CompileReport report;
  auto plan = compile_graph(std::move(imported->graph), options, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(report.tuning.skipped, "");
  const std::string version = (*cuda::lt::functions())->version, known = cache.to_string();
  EXPECT_NE(known.find("\tcuda_product_cublaslt@1 " + version + "\t"), std::string::npos) << known;
  if (is_emulated(use_test_device())) {
    EXPECT_NE(known.find("\tcuda_product_cublaslt:algo_1@1 " + version + "\t"), std::string::npos) << known;
  }
  expect_outputs(std::make_shared<const Plan>(std::move(*plan)), {2, 5});
}

// A library's kernel that is no faster alone is tried in the plan; where it is ahead there it has the step.
TEST(CudaLibrarySession, ThePlanDecides) {
  if (!use_libraries()) GTEST_SKIP() << "skipped: needs cuBLASLt and cuDNN";
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "skipped: knows which of the kernels are rivals there";
  TimingCache cache;
  CompileOptions options = with(Libraries::kOn);
  options.timings = &cache;
  options.tune_seconds = 1000;
  options.tune_clock = [reads = std::make_shared<int>(0)] { return 1e-3 * ++*reads; };  // all take as long
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(8), Dim(6), Dim(6)}}};
  auto imported = onnx::import_bytes(both_model().bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  CompileReport report;
  auto alone = compile_graph(imported->graph.clone(), options, &report);
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_GE(report.tuning.in_plan, 1);
  EXPECT_EQ(report.tuning.changed, 0);
  EXPECT_EQ(steps_of(*alone, "cuda_product_cublaslt"), 0U);
  const std::string known = cache.to_string();
  const size_t rival = known.rfind("\tcuda_product_cublaslt", known.rfind(" against cuda_m"));
  ASSERT_NE(rival, std::string::npos) << known;
  const size_t begin = known.rfind('\n', rival) + 1, end = known.find('\t', rival + 1);
  ASSERT_NE(known.substr(rival, end - rival).find(" against "), std::string::npos) << known;
  ASSERT_TRUE(cache.merge(known.substr(0, known.find('\n') + 1) + known.substr(begin, end - begin) + "\t10\n"));
  options.tune_seconds = 0;
  auto decided = compile_graph(std::move(imported->graph), options, &report);
  ASSERT_TRUE(decided) << decided.error().message;
  EXPECT_EQ(report.tuning.changed, 1);
  EXPECT_EQ(steps_of(*decided, "cuda_product_cublaslt"), 1U);
  expect_outputs(std::make_shared<const Plan>(std::move(*decided)), {2, 5});
}

// What a library does not take when it sees the device is left to others, and remembered.
TEST(CudaLibrarySession, WhatTheLibraryRefuses) {
  if (!use_libraries()) GTEST_SKIP() << "skipped: needs cuBLASLt and cuDNN";
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "skipped: only the stand-in refuses filters of 7 x 7";
  TimingCache cache;
  CompileOptions options = with(Libraries::kOnly);
  options.timings = &cache;
  options.tune_seconds = 30;  // on a GPU that compiling takes long for, too
  options.tune_shapes = {{"x", Dims{Dim(2), Dim(8), Dim(6), Dim(6)}}};
  auto imported = onnx::import_bytes(both_model(7).bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  for (bool again : {false, true}) {
    CompileReport report;
    auto plan = compile_graph(imported->graph.clone(), options, &report);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(report.tuning.measured > 0, !again);
    EXPECT_EQ(steps_of(*plan, "cuda_conv_cudnn"), 0U);
    EXPECT_EQ(steps_of(*plan, "cuda_product_cublaslt"), 1U);
    bool says_so = false;
    for (const PlanStep& step : plan->graph.steps)
      says_so = says_so || step.report.find("cudnn: refused, the library does not take it") != std::string::npos;
    EXPECT_TRUE(says_so);
    expect_outputs(std::make_shared<const Plan>(std::move(*plan)), {2}, 7);
  }
}

bool is_loaded(const char* file) {
  void* library = ::dlopen((std::string(HUSSAR_TEST_LIBRARIES) + file).c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (library != nullptr) ::dlclose(library);
  return library != nullptr;
}

// Nor is a library loaded that nobody has permitted.
TEST(CudaLibrarySession, OffByDefault) {
  const bool was_loaded = is_loaded("/libcublasLt.so.13") || is_loaded("/libcudnn.so.9");
  ASSERT_EQ(::setenv("HUSSAR_CUDA_LIBRARIES", HUSSAR_TEST_LIBRARIES, 1), 0);
  auto plan = build(both_model().bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(steps_of(**plan, "cuda_conv_cudnn") + steps_of(**plan, "cuda_product_cublaslt"), 0U);
  bool is_refused = false;
  for (const PlanStep& step : (*plan)->graph.steps)
    is_refused = is_refused || step.report.find("cublaslt: refused, needs --libraries on") != std::string::npos;
  EXPECT_TRUE(is_refused);
  EXPECT_TRUE(was_loaded || !(is_loaded("/libcublasLt.so.13") || is_loaded("/libcudnn.so.9")));
}

// A machine without the library says so when the plan is opened, and what to do.
TEST(CudaLibrarySession, PlanOnAMachineWithoutTheLibrary) {
  auto plan = build(both_model().bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  if (cuda::lt::functions()) GTEST_SKIP() << "skipped: cuBLASLt is there";
  for (PlanStep& step : const_cast<Plan&>(**plan).graph.steps) {
    if (step.op == "MatMul") step.kernel = "cuda_product_cublaslt";
  }
  auto session = Session::create(*plan);
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, ErrorCode::kPlanIncompatible);
  const std::string& message = session.error().message;
  EXPECT_NE(
      message.find("needs a library that this machine lacks: libcublasLt.so.13 or libcublasLt.so.12 was not "
                   "found; `pip install nvidia-cublas` installs it; or build the plan again with --libraries off"),
      std::string::npos)
      << message;
}

TEST(CudaLibrarySession, NotForOtherMachines) {
  CompileOptions options;
  options.place = Place::kDevice;
  options.sm = 90;
  options.libraries = Libraries::kOn;
  if (cuda::emulation() != nullptr || cuda::find_devices()) GTEST_SKIP() << "skipped: there is a GPU";
  auto imported = onnx::import_bytes(both_model().bytes(), nullptr, "");
  ASSERT_TRUE(imported);
  auto plan = compile_graph(std::move(imported->graph), options);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kUsage);
  EXPECT_NE(plan.error().message.find("has none for cuda:sm_90"), std::string::npos) << plan.error().message;
}

TEST(CudaLibraryNames, DescribesWhatIsThereAndWhatIsNot) {
  if (std::getenv("HUSSAR_TEST_GPU") != nullptr)
    GTEST_SKIP() << "skipped: the libraries of the GPU may be open already";
  for (const cuda::LibraryUse& use : cuda::kLibraries) {
    EXPECT_EQ(&cuda::library_named(use.name), &use);
    cuda::LibraryUse absent = use;
    absent.files = {"libhussar_has_no_such.so.7", "libhussar_has_no_such.so.6"};
    const std::string text = cuda::describe_library(absent);
    EXPECT_EQ(text, "libhussar_has_no_such.so.7 or libhussar_has_no_such.so.6 was not found; `pip install " +
                        std::string(use.package) + "` installs it");
  }
  ASSERT_EQ(::setenv("HUSSAR_CUDA_LIBRARIES", HUSSAR_TEST_LIBRARIES, 1), 0);
  EXPECT_EQ(cuda::describe_library(cuda::library_named("cuBLASLt")),
            "13.0.99, " HUSSAR_TEST_LIBRARIES
            "/libcublasLt.so.13: multiplies matrices in plans that are built with "
            "--libraries on");
  EXPECT_EQ(cuda::describe_library(cuda::library_named("cuDNN")).find("9.0.99, "), 0U);
  EXPECT_EQ(cuda::describe_library(cuda::library_named("cuSPARSELt")),
            "0.8.99, " HUSSAR_TEST_LIBRARIES
            "/libcusparseLt.so.0: multiplies by 2:4 weights in plans that are built with --libraries on");
}

TEST(CudaLibraryNames, ThreeWays) {
  EXPECT_EQ(*parse_libraries("off"), Libraries::kOff);
  EXPECT_EQ(*parse_libraries("only"), Libraries::kOnly);
  ASSERT_FALSE(parse_libraries("maybe"));
  EXPECT_NE(parse_libraries("maybe").error().message.find("off, on or only"), std::string::npos);
}

}  // namespace
}  // namespace hussar::tests
