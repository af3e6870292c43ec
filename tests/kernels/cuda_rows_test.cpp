// CUDA kernels that work on rows and axes: normalization, Softmax, reductions, ArgMax and ArgMin.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

double tolerance_of(DType dtype) { return dtype == DType::kFloat32 ? 2e-5 : dtype == DType::kFloat16 ? 3e-3 : 2e-2; }

DType any_float() {
  constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  return kFloats[pick(0, 2)];
}

KernelCase norm_case(const char* op, DType dtype, const Shape& shape, int64_t axis, bool bias, size_t outputs) {
  const Shape row(shape.dims().subspan(static_cast<size_t>(axis < 0 ? axis + shape.rank() : axis)));
  KernelCase test{"cuda_norm", op, {{random_tensor(dtype, shape, -1, 3)}, {random_tensor(dtype, row)}}};
  if (bias) test.inputs.push_back({random_tensor(dtype, row)});
  test.attributes = attributes({{"axis", axis}, {"epsilon", 1e-2F}});
  test.outputs = outputs;
  test.tolerance = tolerance_of(dtype);
  return test;
}

TEST(CudaNorm, LayerNormalization) {
  for (int64_t length : {1, 5, 32, 65, 768, 1024, 1025, 3072, 9000}) {
    expect_kernel_agrees(norm_case("LayerNormalization", any_float(), {2, pick(1, 5), length}, -1, pick(0, 1) == 0, 1));
    if (HasFailure()) return;
  }
  expect_kernel_agrees(norm_case("LayerNormalization", DType::kFloat32, {3, 4, 5, 6}, 1, true, 3));
  expect_kernel_agrees(norm_case("LayerNormalization", DType::kFloat16, {2, 3, 96}, -1, true, 1));
}

TEST(CudaNorm, ToBytes) {
  for (int64_t length : {1, 5, 65, 768, 1024, 1025, 9000}) {
    KernelCase test = norm_case("hussar.NormToBytes", any_float(), {2, pick(1, 5), length}, -1, pick(0, 1) == 0, 2);
    test.attributes.set("center", pick(0, 1));
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", pick(0, 255));
    if (pick(0, 1) == 0) {
      test.inputs.resize(3);
      test.inputs.push_back({random_tensor(DType::kFloat32, {length}, 0.25F, 4)});
    }
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaNorm, RootMeanSquare) {
  for (int64_t length : {7, 512, 2048}) {
    expect_kernel_agrees(norm_case("RMSNormalization", any_float(), {3, length}, -1, false, 1));
  }
}

TEST(CudaNorm, RefusesBroadcastWithinRows) {
  KernelCase test = norm_case("LayerNormalization", DType::kFloat32, {2, 3, 8}, -1, false, 1);
  test.inputs[1] = {random_tensor(DType::kFloat32, {1})};
  EXPECT_EQ(refusal_of(test), "scale or bias of another shape than the rows");
}

KernelCase softmax_case(const char* op, DType dtype, const Shape& shape, int64_t axis) {
  KernelCase test{"cuda_softmax", op, {{random_tensor(dtype, shape, -9, 9)}}, attributes({{"axis", axis}})};
  test.tolerance = tolerance_of(dtype);
  return test;
}

TEST(CudaSoftmax, AnyAxis) {
  for (const char* op : {"Softmax", "LogSoftmax"}) {
    for (int64_t length : {1, 33, 128, 1000, 5000}) {
      expect_kernel_agrees(softmax_case(op, any_float(), {pick(1, 12), length}, -1));
      expect_kernel_agrees(softmax_case(op, any_float(), {2, length, 3}, 1));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaSoftmax, ChannelsLast) {
  for (int64_t gap : {0, 3, 8}) {
    KernelCase test = softmax_case("Softmax", DType::kFloat32, {2, 40, 3, 2}, 1);
    test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
    test.inputs[0].gap = gap;
    test.output_gap = 8 - gap;
    expect_kernel_agrees(test);
  }
}

TEST(CudaSoftmax, Infinities) {
  KernelCase test = softmax_case("Softmax", DType::kFloat32, {3, 50}, -1);
  auto* values = const_cast<float*>(test.inputs[0].tensor.data<float>());
  for (int i = 0; i < 50; ++i) values[i] = i % 2 == 0 ? -INFINITY : values[i];
  for (int i = 50; i < 100; ++i) values[i] = -INFINITY;
  values[120] = NAN;
  expect_kernel_agrees(test);
}

KernelCase reduce_case(const char* op, Tensor x, const Ints& axes, bool keep) {
  int64_t count = 1;
  for (int64_t axis : axes) count *= x.shape()[static_cast<int>(axis)];
  const DType dtype = x.dtype();
  KernelCase test{"cuda_reduce", op, {{std::move(x)}}, attributes({{"keepdims", int64_t{keep}}})};
  if (!axes.empty()) test.inputs.push_back({integers(axes), true});
  test.tolerance = tolerance_of(dtype) + 1e-7 * static_cast<double>(count);
  return test;
}

TEST(CudaReduce, RandomAxes) {
  constexpr const char* kOps[] = {"ReduceSum",       "ReduceMean", "ReduceL1",  "ReduceL2", "ReduceLogSum",
                                  "ReduceSumSquare", "ReduceProd", "ReduceMax", "ReduceMin"};
  for (const char* op : kOps) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      Shape shape;
      for (int64_t rank = pick(1, 5); rank > 0; --rank) shape.push_back(pick(0, 3) == 0 ? pick(1, 70) : pick(1, 6));
      Ints axes;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        if (pick(0, 1) == 0) axes.push_back(axis);
      }
      const bool is_positive = std::string(op) == "ReduceProd" || std::string(op) == "ReduceLogSum";
      Tensor x = random_tensor(pick(0, 2) == 0 ? DType::kFloat16 : DType::kFloat32, shape, is_positive ? 0.8 : -2,
                               is_positive ? 1.2 : 2);
      const bool keep = pick(0, 1) == 0;
      KernelCase test = reduce_case(op, x, axes, keep);
      pick_layouts(test, keep);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaReduce, LongRowsAndColumns) {
  for (const char* op : {"ReduceMean", "ReduceMax"}) {
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {3, 30003}), {1}, true));
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat16, {3, 4096}), {1}, true));
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {1001, 53}), {0}, true));
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {2, 13, 17, 13}), {0, 2}, false));
  }
}

TEST(CudaReduce, Integers) {
  for (const char* op : {"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"}) {
    for (DType dtype : {DType::kInt32, DType::kInt64, DType::kInt8, DType::kUInt8}) {
      const bool is_product = std::string(op) == "ReduceProd";
      Tensor x = random_tensor(dtype, {5, 40}, is_product ? 1 : dtype == DType::kUInt8 ? 0 : -3, is_product ? 1 : 3);
      expect_kernel_agrees(reduce_case(op, x, {pick(0, 1)}, true));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaReduce, GlobalPools) {
  for (const char* op : {"GlobalAveragePool", "GlobalMaxPool"}) {
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
      KernelCase test = reduce_case(op, random_tensor(DType::kFloat32, {2, pick(1, 70), 9, pick(7, 9)}), {}, true);
      test.attributes = {};
      test.inputs[0].layout = test.output_layout = layout;
      expect_kernel_agrees(test);
    }
  }
}

TEST(CudaReduce, NanAndNothing) {
  Tensor x = random_tensor(DType::kFloat32, {20, 50});
  for (int i = 0; i < 20; ++i) x.data<float>()[pick(0, 999)] = i % 2 == 0 ? NAN : -INFINITY;
  for (const char* op : {"ReduceMax", "ReduceMin", "ReduceSum"}) {
    expect_kernel_agrees(reduce_case(op, x, {0}, true));
    expect_kernel_agrees(reduce_case(op, x, {1}, true));
  }
  expect_kernel_agrees(reduce_case("ReduceSum", random_tensor(DType::kFloat32, {3, 0, 4}), {1}, true));
  expect_kernel_agrees(reduce_case("ReduceMax", random_tensor(DType::kFloat32, {0, 3}), {0}, false));
}

TEST(CudaArgExtreme, AnyAxis) {
  for (const char* op : {"ArgMax", "ArgMin"}) {
    for (int repeat = 0; repeat < 12; ++repeat) {
      Shape shape;
      for (int64_t rank = pick(1, 4); rank > 0; --rank) shape.push_back(pick(0, 3) == 0 ? pick(1, 150) : pick(1, 6));
      // Few distinct values, so that there are ties.
      Tensor x = random_tensor(DType::kFloat32, shape, -3, 3);
      for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);
      if (pick(0, 3) == 0) x.data<float>()[pick(0, x.elements() - 1)] = NAN;
      KernelCase test{
          "cuda_arg_extreme", op, {{x}}, attributes({{"keepdims", pick(0, 1)}, {"select_last_index", pick(0, 1)}})};
      test.attributes.set("axis", pick(-shape.rank(), shape.rank() - 1));
      if (shape.rank() == 4 && pick(0, 1) == 0) {
        test.attributes.set("axis", int64_t{1});
        test.inputs[0].layout = Layout::kChannelsLast;
        test.inputs[0].gap = pick(0, 3);
      }
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
    KernelCase wide{"cuda_arg_extreme", op, {{random_tensor(DType::kInt32, {2, 5000}, -90, 90)}}};
    wide.attributes = attributes({{"axis", int64_t{1}}});
    expect_kernel_agrees(wide);
  }
}

}  // namespace
}  // namespace hussar
