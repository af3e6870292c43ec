// Kernels that move elements, against the reference: every element size, ranks, layouts and pitches.
#include <array>

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
      KernelCase test{
          "copy", "hussar.Reformat", {{random_tensor(dtype, random_shape(static_cast<int>(pick(3, 5)), 40))}}};
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
    for (int repeat = 0; repeat < 20; ++repeat) {
      int rank = static_cast<int>(pick(1, 6));
      Ints permutation(static_cast<size_t>(rank));
      for (int axis = 0; axis < rank; ++axis) permutation[static_cast<size_t>(axis)] = axis;
      std::shuffle(permutation.begin(), permutation.end(), cpu::random_engine());
      KernelCase test{"transpose",
                      "Transpose",
                      {{random_tensor(dtype, random_shape(rank, 40))}},
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
    expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(dtype, {35, 4111})}}});
    expect_kernel_agrees({"transpose", "Transpose", {{random_tensor(dtype, {4111, 19})}}});
  }
}

TEST(TransposeKernel, HeadsOfAttention) {
  expect_kernel_agrees({"transpose",
                        "Transpose",
                        {{random_tensor(DType::kFloat32, {2, 128, 12, 64})}},
                        attributes({{"perm", Ints{0, 2, 1, 3}}})});
  expect_kernel_agrees({"transpose",
                        "Transpose",
                        {{random_tensor(DType::kFloat32, {2, 128, 12, 64})}},
                        attributes({{"perm", Ints{0, 2, 3, 1}}})});
}

TEST(ConcatKernel, AnyAxisAndLayout) {
  for (int repeat = 0; repeat < 80; ++repeat) {
    DType dtype = any_dtype();
    Shape shape = random_shape(static_cast<int>(pick(1, 5)), 20);
    int axis = static_cast<int>(pick(0, shape.rank() - 1));
    KernelCase test{"concat", "Concat", {}, attributes({{"axis", pick(0, 1) == 0 ? axis : axis - shape.rank()}})};
    for (int64_t i = pick(1, 5); i > 0; --i) {
      shape[axis] = pick(0, 9);
      test.inputs.push_back({random_tensor(dtype, shape)});
    }
    shuffle_layouts(test);
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(SplitKernel, AnyAxisAndLayout) {
  for (int repeat = 0; repeat < 80; ++repeat) {
    Shape shape = random_shape(static_cast<int>(pick(1, 5)), 20);
    int axis = static_cast<int>(pick(0, shape.rank() - 1));
    Ints parts(static_cast<size_t>(pick(1, 4)));
    shape[axis] = 0;
    for (int64_t& part : parts) shape[axis] += part = pick(0, 9);
    KernelCase test{"split",
                    "Split",
                    {{random_tensor(any_dtype(), shape)}, {integers(parts)}},
                    attributes({{"axis", static_cast<int64_t>(axis)}}),
                    parts.size()};
    shuffle_layouts(test);
    test.inputs[1] = {integers(parts), pick(0, 1) == 0};
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(SliceKernel, RandomSlices) {
  for (int repeat = 0; repeat < 100; ++repeat) {
    Shape shape = random_shape(static_cast<int>(pick(1, 5)), 40);
    Ints starts, ends, axes, steps;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (pick(0, 2) == 0) continue;
      axes.push_back(pick(0, 1) == 0 ? axis : axis - shape.rank());
      starts.push_back(pick(-shape[axis] - 2, shape[axis] + 2));
      ends.push_back(pick(0, 4) == 0 ? INT64_MAX : pick(-shape[axis] - 2, shape[axis] + 2));
      steps.push_back(pick(0, 1) == 0 ? 1 : pick(0, 1) == 0 ? pick(1, 4) : pick(-4, -1));
    }
    if (axes.empty()) continue;
    bool constant = pick(0, 1) == 0;
    DType index = pick(0, 1) == 0 ? DType::kInt64 : DType::kInt32;
    if (index == DType::kInt32) {
      for (int64_t& end : ends) end = std::min<int64_t>(end, INT32_MAX);
    }
    KernelCase test{"slice", "Slice", {{random_tensor(any_dtype(), shape)}}};
    shuffle_layouts(test);
    for (const Ints& list : {starts, ends, axes, steps}) test.inputs.push_back({integers(list, index), constant});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(ExpandKernel, ExpandAndTile) {
  for (int repeat = 0; repeat < 80; ++repeat) {
    Shape shape = random_shape(static_cast<int>(pick(0, 4)), 30);
    Ints wanted, repeats;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (pick(0, 1) == 0) shape[axis] = 1;
      wanted.push_back(shape[axis] == 1 ? pick(0, 9) : pick(0, 1) == 0 ? 1 : shape[axis]);
      repeats.push_back(pick(0, 3));
    }
    Tensor x = random_tensor(any_dtype(), shape);
    if (shape.rank() > 0) expect_kernel_agrees({"expand", "Tile", {{x}, {integers(repeats)}}});
    if (pick(0, 1) == 0) wanted.insert(wanted.begin(), pick(1, 4));
    expect_kernel_agrees({"expand", "Expand", {{x}, {integers(wanted), pick(0, 1) == 0}}});
    if (HasFailure()) return;
  }
}

TEST(DepthToSpaceKernel, BothWaysAndModes) {
  for (int repeat = 0; repeat < 60; ++repeat) {
    int64_t block = pick(1, 3);
    DType dtype = any_dtype();
    KernelCase deep{"depth_to_space",
                    "DepthToSpace",
                    {{random_tensor(dtype, {pick(1, 2), pick(1, 20) * block * block, pick(1, 6), pick(1, 6)})}},
                    attributes({{"blocksize", block}, {"mode", std::string(pick(0, 1) == 0 ? "DCR" : "CRD")}})};
    shuffle_layouts(deep);
    expect_kernel_agrees(deep);
    KernelCase wide{"depth_to_space",
                    "SpaceToDepth",
                    {{random_tensor(dtype, {pick(1, 2), pick(1, 20), pick(1, 6) * block, pick(1, 6) * block})}},
                    attributes({{"blocksize", block}})};
    shuffle_layouts(wide);
    expect_kernel_agrees(wide);
    if (HasFailure()) return;
  }
}

TEST(PadKernel, ModesAndLayouts) {
  for (int repeat = 0; repeat < 100; ++repeat) {
    const char* mode = std::array{"constant", "reflect", "edge", "wrap"}[static_cast<size_t>(pick(0, 3))];
    bool is_constant = std::string(mode) == "constant";
    Shape shape = random_shape(static_cast<int>(pick(1, 5)), 20);
    int rank = shape.rank();
    Ints pads(static_cast<size_t>(2 * rank));
    for (int axis = 0; axis < rank; ++axis) {
      if (pick(0, 1) == 0) continue;
      int64_t most = is_constant ? 4 : shape[axis] - 1;
      for (int side : {axis, axis + rank}) pads[static_cast<size_t>(side)] = pick(0, std::min<int64_t>(most, 4));
      // Cropping on one side.
      if (is_constant && shape[axis] > 3 && pick(0, 2) == 0) pads[static_cast<size_t>(axis)] = -pick(1, 2);
    }
    DType dtype = any_dtype();
    KernelCase test{"pad", "Pad", {{random_tensor(dtype, shape)}}, attributes({{"mode", std::string(mode)}})};
    if (rank >= 3 && pick(0, 1) == 0) {
      make_channels_last(test.inputs[0]);
      make_output_channels_last(test);
    }
    test.inputs.push_back({integers(pads), pick(0, 1) == 0});
    if (is_constant && pick(0, 1) == 0) test.inputs.push_back({random_tensor(dtype, {}, 0, 9)});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(PadKernel, ChosenAxes) {
  Tensor x = random_tensor(DType::kFloat32, {2, 3, 11, 13});
  KernelCase test{
      "pad", "Pad", {{x}, {integers({1, 2, 3, 4})}, {random_tensor(DType::kFloat32, {})}, {integers({3, -2})}}};
  expect_kernel_agrees(test);
}

}  // namespace
}  // namespace hussar
