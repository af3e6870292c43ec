// reduce against the reference: operators, sets of axes, layouts, special values.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr const char* kOps[] = {"ReduceSum",       "ReduceMean", "ReduceL1",  "ReduceL2",
                                "ReduceSumSquare", "ReduceProd", "ReduceMax", "ReduceMin"};

KernelCase reduce_case(const char* op, Tensor x, const Ints& axes, bool keep) {
  const Shape shape = x.shape();
  int64_t count = axes.empty() ? x.elements() : 1;
  for (int64_t axis : axes) count *= shape[static_cast<int>(axis < 0 ? axis + shape.rank() : axis)];
  KernelCase test{"reduce", op, {{std::move(x)}}, attributes({{"keepdims", static_cast<int64_t>(keep)}})};
  if (!axes.empty()) test.inputs.push_back({integers(axes), pick(0, 1) == 0});
  // A sum of n numbers between -2 and 2 may cancel, passes through numbers near the root of n, and is rounded n times.
  const bool may_cancel = std::string_view(op) == "ReduceSum";
  test.tolerance = 2e-5 + (may_cancel ? 1e-7 : 1e-8) * static_cast<double>(count);
  return test;
}

TEST(ReduceKernel, RandomAxes) {
  for (const char* op : kOps) {
    for (int repeat = 0; repeat < 60; ++repeat) {
      Shape shape;
      for (int64_t rank = pick(1, 5); rank > 0; --rank) shape.push_back(pick(0, 4) == 0 ? pick(1, 70) : pick(1, 6));
      Ints axes;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        if (pick(0, 1) == 0) axes.push_back(pick(0, 1) == 0 ? axis : axis - shape.rank());
      }
      bool is_product = std::string(op) == "ReduceProd";
      Tensor x = random_tensor(DType::kFloat32, shape, is_product ? 0.8 : -2, is_product ? 1.2 : 2);
      bool keep = pick(0, 1) == 0;
      KernelCase test = reduce_case(op, x, axes, keep);
      pick_layouts(test, keep);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(ReduceKernel, LongRowsAndColumns) {
  for (const char* op : {"ReduceMean", "ReduceMax"}) {
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {3, 100003}), {1}, true));
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {3001, 211}), {0}, true));
    expect_kernel_agrees(reduce_case(op, random_tensor(DType::kFloat32, {2, 131, 57, 53}), {2, 3}, false));
  }
}

TEST(ReduceKernel, GlobalPools) {
  for (const char* op : {"GlobalAveragePool", "GlobalMaxPool"}) {
    for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
      KernelCase test = reduce_case(op, random_tensor(DType::kFloat32, {2, pick(1, 300), 7, pick(1, 9)}), {}, true);
      test.attributes = {};
      test.inputs[0].layout = test.output_layout = layout;
      expect_kernel_agrees(test);
    }
  }
}

TEST(ReduceKernel, NanAndNothing) {
  Tensor x = random_tensor(DType::kFloat32, {40, 50});
  for (int i = 0; i < 20; ++i) x.data<float>()[pick(0, 1999)] = i % 2 == 0 ? NAN : -INFINITY;
  for (const char* op : {"ReduceMax", "ReduceMin", "ReduceSum"}) {
    expect_kernel_agrees(reduce_case(op, x, {0}, true));
    expect_kernel_agrees(reduce_case(op, x, {1}, true));
  }
  expect_kernel_agrees(reduce_case("ReduceSum", random_tensor(DType::kFloat32, {3, 0, 4}), {1}, true));
  expect_kernel_agrees(reduce_case("ReduceProd", random_tensor(DType::kFloat32, {0, 3, 0}), {0, 2}, false));
}

TEST(ArgExtremeKernel, AnyAxis) {
  for (const char* op : {"ArgMax", "ArgMin"}) {
    for (int repeat = 0; repeat < 60; ++repeat) {
      Shape shape;
      for (int64_t rank = pick(1, 4); rank > 0; --rank) shape.push_back(pick(0, 3) == 0 ? pick(1, 150) : pick(1, 6));
      // Few distinct values, so that there are ties.
      Tensor x = random_tensor(DType::kFloat32, shape, -3, 3);
      for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);
      if (pick(0, 3) == 0) x.data<float>()[pick(0, x.elements() - 1)] = NAN;
      KernelCase test{
          "arg_extreme", op, {{x}}, attributes({{"keepdims", pick(0, 1)}, {"select_last_index", pick(0, 1)}})};
      test.attributes.set("axis", pick(-shape.rank(), shape.rank() - 1));
      if (shape.rank() == 4 && pick(0, 1) == 0) {
        test.attributes.set("axis", int64_t{1});
        test.inputs[0].layout = Layout::kChannelsLast;
        test.inputs[0].gap = pick(0, 3);
      }
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hussar
