// cuda_projected_attention against the reference evaluators of its two parts: lengths around those of warps, heads of
// both sizes, masks, and what may be multiplied, passed on and written. On the emulated GPU with Hopper's instructions.
#include "tests/kernels/projected_attention_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kBytes = DType::kUInt8, kRows = DType::kInt8;

// Rows are rounded to their type in both; the reference rounds weights of bytes to multiples of 1/255 of the largest
// (cuda_attention_test.cpp).
double tolerance_of(const ProjectedTypes& types) {
  if (types.rows == kBytes) return 2e-2;
  return types.rows == kBrain ? 3e-2 : 5e-3;
}

KernelCase case_of(const ProjectedSizes& sizes, const ProjectedTypes& types) {
  KernelCase test = projected_case(sizes, types);
  test.tolerance = tolerance_of(types);
  return test;
}

void expect_agrees(const ProjectedTypes& types, std::initializer_list<ProjectedSizes> shapes) {
  if (const auto refusal = refusal_of(case_of(*shapes.begin(), types))) {
    if (refusal->starts_with("needs ")) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  }
  for (const ProjectedSizes& sizes : shapes) {
    expect_kernel_agrees(case_of(sizes, types));
    if (testing::Test::HasFailure()) return;
  }
}

TEST(CudaProjectedAttention, Halves) {
  expect_agrees({kHalf, kHalf, kHalf}, {{1, 128, 2, 64, 64},
                                        {3, 101, 2, 64, 200, {3, 1, 1, 101}},
                                        {2, 128, 4, 32, 72, {2, 1, 1, 128}},
                                        {1, 65, 2, 32, 640},
                                        {1, 70, 2, 64, 64, {1, 2, 1, 70}},
                                        {2, 80, 1, 64, 64, {1, 1, 1, 80}}});
}

TEST(CudaProjectedAttention, HalvesToBytes) {
  expect_agrees({kHalf, kHalf, kBytes}, {{2, 127, 1, 64, 96, {2, 1, 1, 127}}, {1, 66, 2, 32, 64}});
}

TEST(CudaProjectedAttention, Bf16) {
  expect_agrees({kBrain, kBrain, kBrain}, {{2, 100, 2, 64, 96, {2, 1, 1, 100}}, {1, 128, 2, 32, 64}});
}

TEST(CudaProjectedAttention, Bytes) {
  expect_agrees({kBytes, kBytes, kBytes}, {{1, 128, 2, 64, 128},
                                           {3, 101, 2, 64, 208, {3, 1, 1, 101}},
                                           {2, 128, 4, 32, 1024, {2, 4, 1, 128}},
                                           {1, 65, 2, 32, 144},
                                           {1, 70, 2, 64, 64}});
  expect_agrees({kBytes, kBytes, kHalf}, {{2, 90, 1, 64, 64, {1, 1, 1, 90}}});
}

// Products of bytes beside attention in halves, and rows with scales of their own.
TEST(CudaProjectedAttention, BytesToHalves) {
  expect_agrees({kBytes, kHalf, kBytes}, {{2, 99, 2, 64, 144, {2, 1, 1, 99}}, {1, 128, 2, 32, 64}});
  expect_agrees({kRows, kHalf, kHalf}, {{3, 77, 2, 64, 144}});
}

TEST(CudaProjectedAttention, RandomSizes) {
  if (refusal_of(case_of({1, 128, 1, 64, 64}, {kHalf, kHalf, kHalf}))) GTEST_SKIP() << "skipped: needs Hopper";
  const bool has_gpu = !tests::is_emulated(tests::use_test_device());
  for (int repeat = 0; repeat < (has_gpu ? 30 : 3); ++repeat) {
    const int64_t dim = int64_t{32} << pick(0, 1);
    ProjectedSizes sizes{pick(1, has_gpu ? 40 : 2), pick(1, 128), pick(1, 3) * 64 / dim, dim, 16 * pick(1, 20)};
    if (pick(0, 2) > 0) {
      sizes.mask = {pick(0, 1) == 0 ? 1 : sizes.batch, pick(0, 1) == 0 ? 1 : sizes.heads, 1, sizes.tokens};
    }
    const bool of_bytes = pick(0, 1) == 1;
    expect_kernel_agrees(
        case_of(sizes, of_bytes ? ProjectedTypes{kBytes, kBytes, kBytes} : ProjectedTypes{kHalf, kHalf, kHalf}));
    if (HasFailure()) return;
  }
}

TEST(CudaProjectedAttention, Refusals) {
  const ProjectedTypes halves = {kHalf, kHalf, kHalf};
  auto refused = [&](const ProjectedSizes& sizes) { return refusal_of(projected_case(sizes, halves)).has_value(); };
  EXPECT_TRUE(refused({1, 129, 2, 64, 64}));
  EXPECT_TRUE(refused({1, 128, 1, 128, 64}));
  EXPECT_TRUE(refused({1, 128, 3, 32, 64}));
  EXPECT_TRUE(refused({1, 128, 2, 64, 64, {128, 128}}));
  KernelCase causal = projected_case({1, 128, 2, 64, 64}, halves);
  causal.attributes.set("causal", int64_t{1});
  EXPECT_EQ(refusal_of(causal), std::optional<std::string>("causal"));
  KernelCase test = projected_case({1, 128, 2, 64, 64}, halves);
  test.attributes.set("v_offset", int64_t{64});
  EXPECT_TRUE(refusal_of(test));
  test = projected_case({1, 128, 2, 64, 64}, halves);
  test.inputs[1].constant = false;
  EXPECT_EQ(refusal_of(test), std::optional<std::string>("needs constant weights"));
}

}  // namespace
}  // namespace hussar
