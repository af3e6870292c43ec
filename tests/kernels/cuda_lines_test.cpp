// CUDA kernels of rarer operators: TopK, CumSum, Trilu, OneHot, group normalization, LRN, and blocks of images.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

DType any_float() {
  constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  return kFloats[pick(0, 2)];
}
double tolerance_of(DType dtype) { return dtype == DType::kFloat32 ? 3e-5 : dtype == DType::kFloat16 ? 4e-3 : 3e-2; }

TEST(CudaTopK, AnyAxis) {
  for (int64_t length : {1, 2, 7, 100, 1000, 3000}) {
    const bool is_last = pick(0, 1) == 0;
    const Shape shape = is_last ? Shape{3, length} : Shape{2, length, 3};
    const DType dtype = pick(0, 1) == 0 ? DType::kFloat32 : DType::kInt32;
    Tensor x = random_tensor(dtype, shape, -9, 9);
    if (dtype == DType::kFloat32) {
      // Ties and NaN.
      for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);
      if (length > 5) x.data<float>()[pick(0, x.elements() - 1)] = NAN;
    }
    KernelCase test{"cuda_top_k", "TopK", {{x}, {integers({pick(1, length)}), true}}};
    test.attributes = attributes({{"axis", is_last ? int64_t{-1} : int64_t{1}}, {"largest", pick(0, 1)}});
    test.outputs = 2;
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaTopK, RefusesLongLines) {
  KernelCase test{"cuda_top_k", "TopK", {{random_tensor(DType::kFloat32, {5000})}, {integers({3}), true}}};
  test.outputs = 2;
  EXPECT_EQ(refusal_of(test), "length of the axis");
}

TEST(CudaCumSum, AnyAxis) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kInt64}) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      const Shape shape{pick(1, 4), pick(1, 90), pick(0, 1) == 0 ? 1 : pick(2, 5)};
      KernelCase test{"cuda_cum_sum", "CumSum", {{random_tensor(dtype, shape, 0, 1)}, {integers({pick(-3, 2)}), true}}};
      test.attributes = attributes({{"exclusive", pick(0, 1)}, {"reverse", pick(0, 1)}});
      test.tolerance = dtype == DType::kInt64 ? 0 : tolerance_of(dtype);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaMask, TriluAndOneHot) {
  for (int64_t upper : {0, 1}) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBool}) {
      KernelCase test{"cuda_trilu", "Trilu", {{random_tensor(dtype, {2, 5, 7}, 1, 1)}}};
      if (pick(0, 1) == 0) test.inputs.push_back({random_tensor(DType::kInt64, {}, -3, 3), pick(0, 1) == 0});
      test.attributes = attributes({{"upper", upper}});
      expect_kernel_agrees(test);
    }
  }
  for (int64_t axis : {-1, 0, 1}) {
    KernelCase test{
        "cuda_one_hot",
        "OneHot",
        {{random_tensor(DType::kInt64, {3, 4}, -7, 7)}, {integers({5}), true}, {random_tensor(DType::kFloat32, {2})}}};
    test.attributes = attributes({{"axis", axis}});
    expect_kernel_agrees(test);
  }
}

TEST(CudaGroupNorm, InstancesAndGroups) {
  for (int64_t plane : {1, 15, 64, 3000}) {
    for (const char* op : {"InstanceNormalization", "GroupNormalization"}) {
      const DType dtype = any_float();
      KernelCase test{
          "cuda_group_norm",
          op,
          {{random_tensor(dtype, {2, 6, plane, 2}, -1, 3)}, {random_tensor(dtype, {6})}, {random_tensor(dtype, {6})}}};
      test.attributes = attributes({{"epsilon", 1e-2F}});
      if (std::string(op) == "GroupNormalization") test.attributes.set("num_groups", int64_t{3});
      test.tolerance = tolerance_of(dtype);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaLrn, BothLayouts) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int64_t size : {1, 2, 5}) {
      const DType dtype = any_float();
      KernelCase test{"cuda_lrn", "LRN", {{random_tensor(dtype, {2, 7, 3, 5})}}};
      test.attributes = attributes({{"size", size}, {"alpha", 0.5F}, {"beta", 0.75F}, {"bias", 1.5F}});
      test.inputs[0].layout = test.output_layout = layout;
      if (layout == Layout::kChannelsLast) test.inputs[0].gap = test.output_gap = pick(0, 2);
      test.tolerance = tolerance_of(dtype);
      expect_kernel_agrees(test);
    }
  }
}

TEST(CudaCopy, BlocksOfImages) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (const char* mode : {"DCR", "CRD"}) {
      KernelCase test{"cuda_copy", "DepthToSpace", {{random_tensor(DType::kFloat32, {2, 12, 3, 5})}}};
      test.attributes = attributes({{"blocksize", int64_t{2}}, {"mode", std::string(mode)}});
      test.inputs[0].layout = test.output_layout = layout;
      expect_kernel_agrees(test);
    }
    KernelCase test{"cuda_copy", "SpaceToDepth", {{random_tensor(DType::kFloat16, {1, 3, 6, 4})}}};
    test.attributes = attributes({{"blocksize", int64_t{2}}});
    test.inputs[0].layout = test.output_layout = layout;
    if (layout == Layout::kChannelsLast) test.output_gap = 3;
    expect_kernel_agrees(test);
  }
}

TEST(CudaCopy, Tile) {
  for (const Ints& repeats : {Ints{1, 1, 1}, Ints{2, 1, 3}, Ints{1, 4, 1}, Ints{2, 3, 2}}) {
    expect_kernel_agrees(
        {"cuda_copy", "Tile", {{random_tensor(DType::kInt32, {2, 3, 4}, -9, 9)}, {integers(repeats), true}}});
  }
}

}  // namespace
}  // namespace hussar
