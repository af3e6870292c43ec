// resize against the reference: modes, coordinates, layouts, scales and sizes.
#include <array>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

Tensor floats(std::initializer_list<float> values) {
  return Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(values.size())},
                             std::span<const float>(values.begin(), values.size()));
}

template <size_t kCount>
std::string one_of(const std::array<const char*, kCount>& names) {
  return names[static_cast<size_t>(pick(0, kCount - 1))];
}

KernelCase random_case(const char* mode, Layout layout) {
  bool nearest = std::string(mode) == "nearest", two = pick(0, 3) != 0;
  DType dtype = nearest ? std::array{DType::kFloat32, DType::kUInt8, DType::kInt64}[static_cast<size_t>(pick(0, 2))]
                        : DType::kFloat32;
  Shape shape{pick(1, 2), pick(1, 40), pick(1, 9)};
  if (two) shape.push_back(pick(1, 9));
  KernelCase test{
      "resize", "Resize", {{random_tensor(dtype, shape)}, {}, {}, {}}, attributes({{"mode", std::string(mode)}})};
  std::array coordinates{"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"};
  test.attributes.set("coordinate_transformation_mode", one_of(coordinates));
  test.attributes.set("nearest_mode", one_of(std::array{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}));
  test.attributes.set("exclude_outside", pick(0, 1));
  auto extent = [&](int axis) { return pick(0, 3) == 0 ? shape[axis] : pick(1, 20); };
  constexpr float kScales[] = {0.5f, 0.6f, 1, 1.5f, 2, 2.3f, 3};
  // A scale that leaves nothing is not asked for.
  auto scale = [&](int axis) {
    float value = kScales[pick(0, 6)];
    return value * static_cast<float>(shape[axis]) < 1 ? 2.0f : value;
  };
  int way = static_cast<int>(pick(0, 2));
  if (way == 0) {
    test.inputs[3] = {two ? integers({shape[0], shape[1], extent(2), extent(3)})
                          : integers({shape[0], shape[1], extent(2)})};
  } else if (way == 1) {
    test.inputs[2] = {two ? floats({1, 1, scale(2), scale(3)}) : floats({1, 1, scale(2)})};
  } else {
    test.attributes.set("axes", two ? Ints{3, -2} : Ints{2});
    test.inputs[2] = {two ? floats({scale(3), scale(2)}) : floats({scale(2)})};
  }
  test.tolerance = nearest ? 0 : 1e-5;
  test.inputs[0].layout = test.output_layout = layout;
  if (layout == Layout::kChannelsLast) test.inputs[0].gap = test.output_gap = pick(0, 3);
  return test;
}

TEST(ResizeKernel, RandomCases) {
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
      for (int repeat = 0; repeat < 60; ++repeat) {
        expect_kernel_agrees(random_case(mode, layout));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(ResizeKernel, LargeEnoughForThreads) {
  for (const char* mode : {"nearest", "linear"}) {
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
      KernelCase test{"resize",
                      "Resize",
                      {{random_tensor(DType::kFloat32, {1, 40, 20, 31})}, {}, {floats({1, 1, 2, 2})}},
                      attributes({{"mode", std::string(mode)}}),
                      1,
                      layout,
                      0,
                      1e-5};
      test.inputs[0].layout = layout;
      expect_kernel_agrees(test);
    }
  }
}

TEST(ResizeKernel, Refuses) {
  Tensor x = random_tensor(DType::kFloat32, {1, 2, 4, 4});
  KernelCase test{"resize", "Resize", {{x}, {}, {floats({1, 2, 2, 2})}}};
  EXPECT_EQ(refusal_of(test), "resizes batch or channels");
  test = {"resize",
          "Resize",
          {{x}, {}, {floats({1, 1, 0.5f, 0.5f})}},
          attributes({{"mode", std::string("linear")}, {"antialias", int64_t{1}}})};
  EXPECT_EQ(refusal_of(test), "antialias");
}

}  // namespace
}  // namespace hussar
