// CUDA kernels over spatial axes and those that move elements by index: pools, Resize, Pad, Gather and Scatter.
#include <array>
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

Ints random_ints(int count, int64_t low, int64_t high) {
  Ints values(static_cast<size_t>(count));
  for (int64_t& value : values) value = pick(low, high);
  return values;
}

DType any_movable() {
  return std::array{DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt64,
                    DType::kUInt8}[static_cast<size_t>(pick(0, 4))];
}
DType any_real() {
  return std::array{DType::kFloat32, DType::kFloat16, DType::kBFloat16}[static_cast<size_t>(pick(0, 2))];
}
// Two units in the last place of halves and BF16.
double tolerance_of(DType dtype, double of_floats) {
  return dtype == DType::kFloat16 ? 2e-3 : dtype == DType::kBFloat16 ? 1.6e-2 : of_floats;
}

template <size_t kCount>
std::string one_of(const std::array<const char*, kCount>& names) {
  return names[static_cast<size_t>(pick(0, kCount - 1))];
}

void set_layout(KernelCase& test, Layout layout, int64_t step) {
  test.inputs[0].layout = test.output_layout = layout;
  if (layout == Layout::kPlain) return;
  test.inputs[0].gap = step * pick(0, 2);
  test.output_gap = step * pick(0, 2);
}

KernelCase pool_case(int spatial, Layout layout) {
  const bool is_max = pick(0, 1) == 0;
  const int64_t step = std::array<int64_t, 4>{1, 4, 8, 16}[static_cast<size_t>(pick(0, 3))];  // of channels
  Shape shape{pick(1, 2), step * pick(1, 5)};
  for (int axis = 0; axis < spatial; ++axis) shape.push_back(pick(7, 11));
  const Ints kernel = random_ints(spatial, 1, 3);
  Attributes list = attributes({{"kernel_shape", kernel}, {"strides", random_ints(spatial, 1, 3)}});
  if (pick(0, 1) == 0) list.set("dilations", random_ints(spatial, 1, 2));
  const int64_t padding = pick(0, 3);
  if (padding == 0) {
    Ints pads = kernel;
    pads.insert(pads.end(), kernel.begin(), kernel.end());
    for (int64_t& pad : pads) pad = pick(0, pad - 1);
    list.set("pads", pads);
  }
  if (padding == 1) list.set("auto_pad", std::string(pick(0, 1) == 0 ? "SAME_UPPER" : "SAME_LOWER"));
  if (pick(0, 1) == 0) list.set("ceil_mode", pick(0, 1));
  if (!is_max) list.set("count_include_pad", pick(0, 1));
  const DType dtype = is_max && pick(0, 2) == 0   ? DType::kUInt8
                      : is_max && pick(0, 3) == 0 ? DType::kFloat8E4M3FN
                                                  : any_real();
  Tensor x = random_tensor(dtype, shape, dtype == DType::kUInt8 ? 0 : -9, dtype == DType::kUInt8 ? 255 : 9);
  KernelCase test{"cuda_pool", is_max ? "MaxPool" : "AveragePool", {{x}}, list};
  test.tolerance = is_max ? 0 : tolerance_of(dtype, 1e-6);
  set_layout(test, layout, step);
  return test;
}

TEST(CudaPool, RandomWindows) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int spatial = 1; spatial <= 3; ++spatial) {
      for (int repeat = 0; repeat < 8; ++repeat) {
        expect_kernel_agrees(pool_case(spatial, layout));
        if (HasFailure()) return;
      }
    }
  }
}

// What averages of bytes read and write: other bytes, real numbers or halves.
void set_meanings(KernelCase& test) {
  test.attributes.set("x_scale", 0.03F);
  test.attributes.set("x_zero_point", pick(0, 255));
  const int64_t results = pick(0, 2);
  if (results == 0) {
    test.attributes.set("y_scale", 0.02F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  if (results == 1) test.attributes.set("y_type", static_cast<int64_t>(DType::kFloat16));
  test.tolerance = results == 1 ? 1e-3 : 1e-6;
}

TEST(CudaPool, AveragesOfBytes) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int spatial = 1; spatial <= 3; ++spatial) {
      for (int repeat = 0; repeat < 6; ++repeat) {
        KernelCase test = pool_case(spatial, layout);
        test.op = "hussar.AverageBytes";
        test.attributes.set("count_include_pad", pick(0, 1));
        test.inputs[0].tensor = random_tensor(DType::kUInt8, test.inputs[0].tensor.shape(), 0, 255);
        set_meanings(test);
        expect_kernel_agrees(test);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaReduce, AveragesOfImagesOfBytes) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int repeat = 0; repeat < 16; ++repeat) {
      Shape shape{pick(1, 3), pick(1, 70)};
      for (int64_t axis = pick(1, 3); axis > 0; --axis) shape.push_back(pick(1, 15));
      KernelCase test{"cuda_reduce", "hussar.GlobalAverageBytes", {{random_tensor(DType::kUInt8, shape, 0, 255)}}};
      set_layout(test, layout, 1);
      set_meanings(test);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
  // More elements than a warp reads at once, all at one end.
  KernelCase test{"cuda_reduce",
                  "hussar.GlobalAverageBytes",
                  {{random_tensor(DType::kUInt8, {1, 3, 70, 80}, 255, 255)}},
                  attributes({{"x_scale", 0.5F}, {"x_zero_point", int64_t{3}}})};
  test.tolerance = 1e-6;
  expect_kernel_agrees(test);
}

TEST(CudaPool, NanWins) {
  Tensor x = random_tensor(DType::kFloat32, {1, 8, 9, 9});
  for (int i = 0; i < 30; ++i) x.data<float>()[pick(0, x.elements() - 1)] = NAN;
  expect_kernel_agrees({"cuda_pool", "MaxPool", {{x}}, attributes({{"kernel_shape", Ints{2, 3}}})});
}

Tensor floats(std::initializer_list<float> values) {
  return Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(values.size())},
                             std::span<const float>(values.begin(), values.size()));
}

KernelCase resize_case(const char* mode, Layout layout) {
  const bool nearest = std::string(mode) == "nearest", two = pick(0, 3) != 0;
  const DType dtype =
      nearest ? std::array{DType::kFloat32, DType::kUInt8, DType::kInt64}[static_cast<size_t>(pick(0, 2))] : any_real();
  const int64_t step = pick(0, 1) == 0 ? 1 : 8;
  Shape shape{pick(1, 2), step * pick(1, 4), pick(1, 9)};
  if (two) shape.push_back(pick(1, 9));
  KernelCase test{"cuda_resize",
                  "Resize",
                  {{random_tensor(dtype, shape, 0, 9)}, {}, {}, {}},
                  attributes({{"mode", std::string(mode)}})};
  const std::array coordinates{"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                               "asymmetric"};
  test.attributes.set("coordinate_transformation_mode", one_of(coordinates));
  test.attributes.set("nearest_mode", one_of(std::array{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}));
  test.attributes.set("exclude_outside", pick(0, 1));
  auto extent = [&](int axis) { return pick(0, 3) == 0 ? shape[axis] : pick(1, 20); };
  constexpr float kScales[] = {0.5F, 0.6F, 1, 1.5F, 2, 2.3F, 3};
  auto scale = [&](int axis) {
    const float value = kScales[pick(0, 6)];
    return value * static_cast<float>(shape[axis]) < 1 ? 2.0F : value;
  };
  const int64_t way = pick(0, 2);
  if (way == 0) {
    test.inputs[3] = {
        two ? integers({shape[0], shape[1], extent(2), extent(3)}) : integers({shape[0], shape[1], extent(2)}), true};
  } else if (way == 1) {
    test.inputs[2] = {two ? floats({1, 1, scale(2), scale(3)}) : floats({1, 1, scale(2)}), true};
  } else {
    test.attributes.set("axes", two ? Ints{3, -2} : Ints{2});
    test.inputs[2] = {two ? floats({scale(3), scale(2)}) : floats({scale(2)}), true};
  }
  test.tolerance = nearest ? 0 : tolerance_of(dtype, 1e-5);
  set_layout(test, layout, step);
  return test;
}

TEST(CudaResize, RandomCases) {
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
      for (int repeat = 0; repeat < 10; ++repeat) {
        expect_kernel_agrees(resize_case(mode, layout));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaPad, RandomCases) {
  for (const char* mode : {"constant", "reflect", "edge", "wrap"}) {
    for (int repeat = 0; repeat < 12; ++repeat) {
      const int rank = static_cast<int>(pick(1, 4));
      const int64_t step = pick(0, 1) == 0 ? 1 : 8;
      Shape shape;
      for (int axis = 0; axis < rank; ++axis) shape.push_back(axis == 1 ? step * pick(1, 3) : pick(2, 8));
      Ints pads = random_ints(2 * rank, -1, 2);
      // Often only some axes: then the others move in wide words.
      for (int axis = 0; axis < rank; ++axis) {
        // Cutting off more than there is would be an error.
        const bool stays = pick(0, 1) == 0 || shape[axis] < 2;
        if (stays) pads[static_cast<size_t>(axis)] = pads[static_cast<size_t>(axis + rank)] = 0;
      }
      const DType dtype = any_movable();
      KernelCase test{"cuda_pad", "Pad", {{random_tensor(dtype, shape, 0, 9)}, {integers(pads), true}}};
      if (pick(0, 1) == 0) test.inputs.push_back({random_tensor(dtype, {}, 1, 9)});
      test.attributes = attributes({{"mode", std::string(mode)}});
      if (rank >= 3) set_layout(test, pick(0, 1) == 0 ? Layout::kPlain : Layout::kChannelsLast, step);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

DType any_index() { return pick(0, 1) == 0 ? DType::kInt32 : DType::kInt64; }

TEST(CudaGather, AnyAxis) {
  for (int repeat = 0; repeat < 12; ++repeat) {
    const Shape shape{pick(1, 5), pick(1, 6), pick(0, 1) == 0 ? 16 : pick(1, 5)};
    const int64_t axis = pick(-3, 2);
    const int64_t length = shape[static_cast<int>(axis < 0 ? axis + 3 : axis)];
    Tensor indices =
        random_tensor(any_index(), {2, pick(0, 4)}, static_cast<double>(-length), static_cast<double>(length - 1));
    KernelCase test{"cuda_gather", "Gather", {{random_tensor(any_movable(), shape, 0, 9)}, {indices}}};
    test.attributes = attributes({{"axis", axis}});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaGather, RowsOfBytes) {
  for (int64_t columns : {1, 12, 64}) {
    const Tensor table = random_tensor(DType::kUInt8, {7, columns}, 0, 255),
                 scales = random_tensor(DType::kFloat32, {7});
    KernelCase test{"cuda_gather_bytes",
                    "hussar.GatherBytes",
                    {{table, true}, {scales, true}, {random_tensor(any_index(), {2, pick(0, 4)}, -7, 6)}}};
    test.attributes.set("y_type", static_cast<int64_t>(any_real()));
    test.tolerance = 8e-3;
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaGather, ElementsAndScatter) {
  for (int repeat = 0; repeat < 10; ++repeat) {
    const Shape shape{pick(2, 5), pick(2, 6), pick(2, 5)};
    const int64_t axis = pick(0, 2);
    Shape part = shape;
    part[static_cast<int>(axis)] = pick(1, 2);
    const DType dtype = any_movable();
    // Every index of a line once: what ScatterElements does with two of them is open.
    Tensor indices = random_tensor(DType::kInt64, part, 0, static_cast<double>(shape[static_cast<int>(axis)] - 1));
    const int64_t inner = shape.elements(static_cast<int>(axis) + 1, 3), extent = part[static_cast<int>(axis)];
    for (int64_t i = 0; i < indices.elements(); ++i)
      indices.data<int64_t>()[i] = i / inner % extent - (pick(0, 1) == 0 ? shape[static_cast<int>(axis)] : 0);
    KernelCase gather{"cuda_gather_elements", "GatherElements", {{random_tensor(dtype, shape, 0, 9)}, {indices}}};
    gather.attributes = attributes({{"axis", axis}});
    expect_kernel_agrees(gather);
    KernelCase scatter = gather;
    scatter.op = "ScatterElements";
    scatter.inputs.push_back({random_tensor(dtype, part, 0, 9)});
    expect_kernel_agrees(scatter);
    if (HasFailure()) return;
  }
}

TEST(CudaGather, TuplesAndScatter) {
  for (int repeat = 0; repeat < 10; ++repeat) {
    const Shape shape{2, pick(3, 5), pick(2, 4), pick(0, 1) == 0 ? 4 : pick(1, 3)};
    const int64_t batch = pick(0, 1), tuple = pick(1, 2);
    Tensor indices(DType::kInt64, batch == 1 ? Shape{2, 3, tuple} : Shape{3, tuple});
    for (int64_t i = 0; i < indices.elements(); ++i) {
      const int64_t size = shape[static_cast<int>(batch + i % tuple)];
      indices.data<int64_t>()[i] = pick(-size, size - 1);
    }
    const DType dtype = any_movable();
    KernelCase gather{"cuda_gather_nd", "GatherND", {{random_tensor(dtype, shape, 0, 9)}, {indices}}};
    gather.attributes = attributes({{"batch_dims", batch}});
    expect_kernel_agrees(gather);
    // Each first index once.
    Tensor places(DType::kInt32, {2, tuple});
    for (int64_t i = 0; i < places.elements(); ++i)
      places.data<int32_t>()[i] = static_cast<int32_t>(i % tuple == 0 ? i / tuple : 0);
    Shape updates{2};
    for (int axis = static_cast<int>(tuple); axis < 4; ++axis) updates.push_back(shape[axis]);
    expect_kernel_agrees({"cuda_gather_nd",
                          "ScatterND",
                          {{random_tensor(dtype, shape, 0, 9)}, {places}, {random_tensor(dtype, updates, 0, 9)}}});
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace hussar
