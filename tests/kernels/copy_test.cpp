// Kernels that move elements, against the reference: every element size, ranks, layouts and pitches.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr DType kOfEverySize[] = {DType::kUInt8, DType::kFloat16, DType::kFloat32, DType::kInt64};

DType any_dtype() { return kOfEverySize[pick(0, 3)]; }

Shape random_shape(int rank, int64_t high) {
  Shape shape;
  for (int axis = 0; axis < rank; ++axis) shape.push_back(pick(0, 3) == 0 ? pick(1, high) : pick(1, 6));
  return shape;
}

void make_channels_last(Argument& argument) {
  argument.layout = Layout::kChannelsLast;
  argument.gap = pick(0, 3);
}

void make_output_channels_last(KernelCase& test) {
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = pick(0, 3);
}

// Randomly plain or channels-last tensors, where the rank allows it.
void shuffle_layouts(KernelCase& test) {
  for (Argument& argument : test.inputs) {
    if (argument.tensor.valid() && argument.tensor.shape().rank() >= 3 && pick(0, 1) == 0) make_channels_last(argument);
  }
  if (test.inputs[0].tensor.shape().rank() >= 3 && pick(0, 1) == 0) make_output_channels_last(test);
}

TEST(CopyKernel, Reformat) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      KernelCase test{"copy", "hussar.Reformat", {{random_tensor(dtype, random_shape(static_cast<int>(pick(3, 5)), 40))}}};
      int side = static_cast<int>(pick(0, 2));
      if (side != 0) make_channels_last(test.inputs[0]);
      if (side != 1) make_output_channels_last(test);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CopyKernel, ReformatLargeEnoughForThreads) {
  for (int64_t channels : {3, 64, 100}) {
    KernelCase test{"copy", "hussar.Reformat", {{random_tensor(DType::kFloat32, {2, channels, 61, 83})}}};
    test.output_layout = Layout::kChannelsLast;
    expect_kernel_agrees(test);
    test.inputs[0].layout = Layout::kChannelsLast;
    test.output_layout = Layout::kPlain;
    expect_kernel_agrees(test);
  }
}

TEST(CopyKernel, EmptyTensor) {
  KernelCase test{"copy", "hussar.Reformat", {{random_tensor(DType::kFloat32, {2, 0, 3})}}};
  expect_kernel_agrees(test);
}

TEST(TransposeKernel, RandomPermutations) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 40; ++repeat) {
      int rank = static_cast<int>(pick(1, 6));
      Ints permutation(static_cast<size_t>(rank));
      for (int axis = 0; axis < rank; ++axis) permutation[static_cast<size_t>(axis)] = axis;
      std::shuffle(permutation.begin(), permutation.end(), cpu::random_engine());
      KernelCase test{"transpose", "Transpose", {{random_tensor(dtype, random_shape(rank, 40))}},
                      attributes({{"perm", permutation}})};
      shuffle_layouts(test);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(TransposeKernel, Matrices) {
  for (DType dtype : kOfEverySize) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(dtype, {pick(1, 70), pick(1, 70)})}}});
    }
    expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(dtype, {513, 4111})}}});
  }
}

TEST(TransposeKernel, HeadsOfAttention) {
  expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(DType::kFloat32, {2, 128, 12, 64})}},
                        attributes({{"perm", Ints{0, 2, 1, 3}}})});
  expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(DType::kFloat32, {2, 128, 12, 64})}},
                        attributes({{"perm", Ints{0, 2, 3, 1}}})});
}

}  // namespace
}  // namespace hussar
