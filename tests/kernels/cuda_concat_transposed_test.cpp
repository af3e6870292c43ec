// Channels-last parts joined in plain data.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase parts_of(std::initializer_list<Shape> shapes, int64_t axis, DType dtype = DType::kFloat32) {
  KernelCase test{"cuda_concat_transposed", "Concat", {}};
  uint32_t seed = 1;
  for (const Shape& shape : shapes) {
    test.inputs.push_back({random_tensor(dtype, shape, 0, 99 + static_cast<double>(seed++))});
    test.inputs.back().layout = Layout::kChannelsLast;
  }
  test.attributes = attributes({{"axis", axis}});
  return test;
}

TEST(CudaConcatTransposed, PositionsOfEveryType) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    expect_kernel_agrees(parts_of({{2, 37, 70}, {2, 37, 20}, {2, 37, 3}}, 2, dtype));
    expect_kernel_agrees(parts_of({{1, 64, 33}, {1, 64, 32}}, -1, dtype));
  }
}

TEST(CudaConcatTransposed, Channels) {
  expect_kernel_agrees(parts_of({{3, 20, 5, 9}, {3, 40, 5, 9}}, 1));
  expect_kernel_agrees(parts_of({{2, 16, 40}}, 1));
}

TEST(CudaConcatTransposed, RowsOfImages) { expect_kernel_agrees(parts_of({{2, 33, 4, 11}, {2, 33, 7, 11}}, 2)); }

// Parts that lie inside of others, and such without elements.
TEST(CudaConcatTransposed, PartsOfOthers) {
  KernelCase test = parts_of({{2, 37, 70}, {2, 37, 0}, {2, 37, 20}}, 2);
  test.inputs[0].gap = 5;
  test.inputs[2].gap = 3;
  expect_kernel_agrees(test);
}

TEST(CudaConcatTransposed, Refusals) {
  EXPECT_EQ(refusal_of(parts_of({{2, 37, 5, 6}, {2, 37, 5, 6}}, 3)), "axis");
  EXPECT_EQ(refusal_of(parts_of({{2, 37, 5}, {2, 37, 5}}, 0)), "axis");
  EXPECT_EQ(refusal_of(parts_of({{2, 37, 5}, {2, 3, 5}}, 1)), "short axes");
  KernelCase mixed = parts_of({{2, 37, 5}, {2, 37, 5}}, 2);
  mixed.inputs[1].layout = Layout::kPlain;
  EXPECT_EQ(refusal_of(mixed), "layout of a part");
  KernelCase stays = parts_of({{2, 37, 5}, {2, 37, 5}}, 2);
  stays.output_layout = Layout::kChannelsLast;
  EXPECT_EQ(refusal_of(stays), "layout of the output");
  EXPECT_EQ(
      refusal_of(parts_of(
          {{1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}, {1, 16, 1}},
          2)),
      "number of parts");
}

}  // namespace
}  // namespace hussar
