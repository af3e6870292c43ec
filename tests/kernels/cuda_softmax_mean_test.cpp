// Means of weights by a softmax.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase mean_of(DType dtype, const Shape& shape, int64_t axis, int64_t keeps, double tolerance) {
  const auto place = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  KernelCase test{"cuda_softmax_mean",
                  "hussar.SoftmaxMean",
                  {{random_tensor(dtype, shape, -4, 4)}, {random_tensor(dtype, {shape[place]}, -9, 9), true}}};
  test.attributes = attributes({{"axis", axis}, {"keepdims", keeps}});
  test.tolerance = tolerance;
  return test;
}

TEST(CudaSoftmaxMean, AxesAndTypes) {
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kFloat32, 1e-5}, {DType::kFloat16, 2e-2}, {DType::kBFloat16, 1e-1}}) {
    expect_kernel_agrees(mean_of(dtype, {2, 4, 16, 37}, 2, 0, tolerance));
    expect_kernel_agrees(mean_of(dtype, {2, 16, 5}, 1, 1, tolerance));
    expect_kernel_agrees(mean_of(dtype, {7, 33}, -1, 0, tolerance));
    expect_kernel_agrees(mean_of(dtype, {3, 1, 5}, 1, 0, tolerance));
  }
}

// As softmax has it: minus infinity weighs nothing but where all is, what is no number is none.
TEST(CudaSoftmaxMean, InfinitiesAndNans) {
  KernelCase test = mean_of(DType::kFloat32, {5, 6}, 1, 0, 1e-5);
  auto* x = test.inputs[0].tensor.data<float>();
  x[0] = x[1] = -INFINITY;
  for (int i = 6; i < 12; ++i) x[i] = -INFINITY;
  x[12] = INFINITY;
  x[19] = NAN;
  x[24] = 88;
  x[29] = -88;
  expect_kernel_agrees(test);
}

TEST(CudaSoftmaxMean, Refusals) {
  KernelCase test = mean_of(DType::kFloat32, {2, 16, 5}, 1, 1, 1e-5);
  test.inputs[0].layout = Layout::kChannelsLast;
  EXPECT_EQ(refusal_of(test), "layout");
}

}  // namespace
}  // namespace hussar
