// softmax against the reference: axes, tails, special values, channels-last pitches.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

KernelCase softmax_case(const char* op, Tensor x, int64_t axis) {
  return {"softmax", op, {{std::move(x)}}, attributes({{"axis", axis}}), 1, Layout::kPlain, 0, 2e-6};
}

TEST(SoftmaxKernel, LastAxis) {
  for (const char* op : {"Softmax", "LogSoftmax"}) {
    for (int64_t length : {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257, 1000}) {
      expect_kernel_agrees(softmax_case(op, random_tensor(DType::kFloat32, {pick(1, 5), length}, -20, 20), -1));
    }
  }
}

TEST(SoftmaxKernel, AnyAxis) {
  for (const char* op : {"Softmax", "LogSoftmax"}) {
    for (int64_t axis = -4; axis < 4; ++axis) {
      Shape shape{pick(1, 5), pick(1, 20), pick(1, 9), pick(1, 40)};
      expect_kernel_agrees(softmax_case(op, random_tensor(DType::kFloat32, shape, -9, 9), axis));
    }
  }
}

TEST(SoftmaxKernel, LargeEnoughForThreads) {
  expect_kernel_agrees(softmax_case("Softmax", random_tensor(DType::kFloat32, {257, 1001}, -9, 9), -1));
  expect_kernel_agrees(softmax_case("Softmax", random_tensor(DType::kFloat32, {3, 50, 1003}, -9, 9), 1));
}

TEST(SoftmaxKernel, InfinitiesAndNan) {
  Tensor x = random_tensor(DType::kFloat32, {5, 37});
  float* p = x.data<float>();
  for (int i = 0; i < 37; ++i) p[i] = -kInf;        // nothing to choose from: NaN
  for (int i = 20; i < 37; ++i) p[37 + i] = -kInf;  // masked tail: zeros
  p[2 * 37 + 36] = std::numeric_limits<float>::quiet_NaN();
  p[3 * 37] = kInf;
  p[4 * 37 + 5] = 3e38f;
  expect_kernel_agrees(softmax_case("Softmax", x, -1));
  expect_kernel_agrees(softmax_case("Softmax", x, 0));
}

TEST(SoftmaxKernel, ChannelsLast) {
  for (int64_t gap : {0, 3}) {
    KernelCase test = softmax_case("Softmax", random_tensor(DType::kFloat32, {2, pick(1, 40), 3, 5}), 1);
    test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
    test.inputs[0].gap = gap;
    test.output_gap = 2 * gap;
    expect_kernel_agrees(test);
  }
}

TEST(SoftmaxKernel, Refuses) {
  EXPECT_EQ(refusal_of(softmax_case("Softmax", random_tensor(DType::kFloat16, {2, 3}), -1)), "dtype");
  EXPECT_EQ(refusal_of({"softmax", "Relu", {{random_tensor(DType::kFloat32, {2})}}}), "op");
}

}  // namespace
}  // namespace hussar
