// layer_norm against the reference: axes, tails, optional bias and statistics.
#include "ops/op_def.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase norm_case(const char* op, const Shape& shape, int64_t axis, bool bias, size_t outputs) {
  int first = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  Shape row(shape.dims().subspan(static_cast<size_t>(first)));
  KernelCase test{
      "layer_norm", op, {{random_tensor(DType::kFloat32, shape, -1, 3)}, {random_tensor(DType::kFloat32, row)}}};
  if (bias) test.inputs.push_back({random_tensor(DType::kFloat32, row)});
  test.attributes = attributes({{"axis", axis}, {"epsilon", pick(0, 1) == 0 ? 1e-5f : 1e-2f}});
  test.outputs = outputs;
  // The few numbers of a short row may nearly agree; then the rounding of their mean is divided by sqrt(epsilon).
  test.tolerance = row.elements() < 8 ? 3e-4 : 1e-5;
  return test;
}

TEST(LayerNormKernel, LayerNormalization) {
  for (int64_t length : {1, 2, 5, 8, 16, 17, 31, 64, 65, 100, 384, 768, 1025}) {
    expect_kernel_agrees(norm_case("LayerNormalization", {2, pick(1, 9), length}, -1, pick(0, 1) == 0, 1));
  }
  expect_kernel_agrees(norm_case("LayerNormalization", {3, 4, 5, 6}, 1, true, 3));
  expect_kernel_agrees(norm_case("LayerNormalization", {3, 4, 5, 6}, -2, false, 2));
  expect_kernel_agrees(norm_case("LayerNormalization", {2, 128, 768}, -1, true, 1));
}

TEST(LayerNormKernel, RootMeanSquare) {
  for (int64_t length : {1, 7, 16, 33, 512, 1000}) {
    expect_kernel_agrees(norm_case("RMSNormalization", {2, pick(1, 9), length}, -1, false, 1));
  }
}

TEST(LayerNormKernel, RefusesBroadcastWithinRows) {
  KernelCase test = norm_case("LayerNormalization", {2, 3, 8}, -1, false, 1);
  test.inputs[1] = {random_tensor(DType::kFloat32, {1})};
  EXPECT_EQ(refusal_of(test), "scale or bias of another shape than the rows");
}

}  // namespace
}  // namespace hussar
