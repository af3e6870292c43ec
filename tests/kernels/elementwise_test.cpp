// binary, where and logical_not against the reference: types, broadcasting, faults of integer division.
#include <algorithm>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr DType kNumbers[] = {DType::kFloat32, DType::kInt32, DType::kInt64, DType::kUInt8};

// Shapes that broadcast to one another, of ranks up to 5.
std::vector<Shape> broadcasting_shapes(size_t count) {
  Shape whole;
  for (int64_t rank = pick(0, 5); rank > 0; --rank) whole.push_back(pick(0, 3) == 0 ? pick(1, 60) : pick(1, 5));
  std::vector<Shape> shapes;
  for (size_t i = 0; i < count; ++i) {
    // One operand is whole, so that no axis shrinks.
    auto drop = static_cast<int>(i == 0 ? 0 : pick(0, whole.rank()));
    Shape own(whole.dims().subspan(static_cast<size_t>(drop)));
    for (int axis = 0; i > 0 && axis < own.rank(); ++axis) own[axis] = pick(0, 2) == 0 ? 1 : own[axis];
    shapes.push_back(own);
  }
  std::shuffle(shapes.begin(), shapes.end(), cpu::random_engine());
  return shapes;
}

KernelCase binary_case(const char* op, DType dtype, double low, double high) {
  std::vector<Shape> shapes = broadcasting_shapes(2);
  return {"binary", op, {{random_tensor(dtype, shapes[0], low, high)}, {random_tensor(dtype, shapes[1], low, high)}}};
}

TEST(BinaryKernel, ArithmeticAndComparisons) {
  for (const char* op : {"Add", "Sub", "Mul", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}) {
    for (DType dtype : kNumbers) {
      for (int repeat = 0; repeat < 10; ++repeat) {
        expect_kernel_agrees(binary_case(op, dtype, dtype == DType::kUInt8 ? 0 : -3, 3));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(BinaryKernel, ChannelsLast) {
  for (int repeat = 0; repeat < 60; ++repeat) {
    Shape whole = {pick(1, 3), pick(1, 40)};
    for (int64_t more = pick(0, 3); more > 0; --more) whole.push_back(pick(1, 6));
    KernelCase test{.kernel = "binary", .op = repeat % 2 == 0 ? "Add" : "Sub", .inputs = {}};
    for (bool is_whole : {true, false}) {
      Shape own = whole;
      for (int axis = 0; !is_whole && axis < own.rank(); ++axis) own[axis] = pick(0, 2) == 0 ? 1 : own[axis];
      test.inputs.push_back({random_tensor(DType::kFloat32, own, -3, 3), false, Layout::kChannelsLast});
    }
    test.output_layout = Layout::kChannelsLast;
    expect_kernel_agrees(test);
    if (HasFailure()) return;
    (repeat % 3 == 0 ? test.output_gap : test.inputs[static_cast<size_t>(repeat % 2)].gap) = 4;
    EXPECT_NE(run_error_of(test).find("part of another value"), std::string::npos);
    test.inputs[0].layout = Layout::kPlain;
    EXPECT_EQ(refusal_of(test).value_or(""), "layout");
  }
}

TEST(BinaryKernel, DivisionAndRemainder) {
  for (const char* op : {"Div", "Mod"}) {
    for (DType dtype : kNumbers) {
      if (dtype == DType::kFloat32 && std::string(op) == "Mod") continue;
      for (int repeat = 0; repeat < 20; ++repeat) {
        KernelCase test = binary_case(op, dtype, dtype == DType::kUInt8 ? 0 : -50, 50);
        Tensor& divisor = test.inputs[1].tensor;
        Tensor nonzero = random_tensor(dtype, divisor.shape(), 1, 7);
        if (dtype == DType::kInt64 || dtype == DType::kInt32) {
          nonzero = random_tensor(dtype, divisor.shape(), -7, -1);
          if (pick(0, 1) == 0) nonzero = random_tensor(dtype, divisor.shape(), 1, 7);
        }
        divisor = nonzero;
        expect_kernel_agrees(test);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(BinaryKernel, IntegersWrap) {
  for (const char* op : {"Add", "Sub", "Mul"}) {
    Tensor a = integers({INT64_MAX, INT64_MIN, INT64_MAX}), b = integers({1, -1, INT64_MAX});
    expect_kernel_agrees({"binary", op, {{a}, {b}}});
  }
}

TEST(BinaryKernel, DivisionFaults) {
  EXPECT_NE(run_error_of({"binary", "Div", {{integers({1, 2})}, {integers({1, 0})}}}).find("division by zero"),
            std::string::npos);
  EXPECT_NE(run_error_of({"binary", "Mod", {{integers({1, 2})}, {integers({1, 0})}}}).find("division by zero"),
            std::string::npos);
  EXPECT_NE(run_error_of({"binary", "Div", {{integers({INT64_MIN})}, {integers({-1})}}}).find("overflows"),
            std::string::npos);
  expect_kernel_agrees({"binary", "Mod", {{integers({INT64_MIN})}, {integers({-1})}}});
}

TEST(BinaryKernel, Extremes) {
  for (const char* op : {"Min", "Max"}) {
    for (DType dtype : {DType::kInt32, DType::kInt64, DType::kUInt8}) {
      expect_kernel_agrees(binary_case(op, dtype, dtype == DType::kUInt8 ? 0 : -9, 9));
    }
    EXPECT_EQ(refusal_of(binary_case(op, DType::kFloat32, 0, 1)), "dtype");
  }
}

TEST(BinaryKernel, Logic) {
  for (const char* op : {"And", "Or", "Xor", "Equal"}) {
    for (int repeat = 0; repeat < 10; ++repeat) expect_kernel_agrees(binary_case(op, DType::kBool, 0, 1));
  }
}

TEST(BinaryKernel, LargeEnoughForThreads) {
  expect_kernel_agrees(
      {"binary",
       "Add",
       {{random_tensor(DType::kInt64, {300, 1, 401}, -9, 9)}, {random_tensor(DType::kInt64, {7, 1}, -9, 9)}}});
  expect_kernel_agrees(
      {"binary", "Less", {{random_tensor(DType::kInt64, {300007}, -9, 9)}, {random_tensor(DType::kInt64, {}, -9, 9)}}});
}

TEST(WhereKernel, AnySizeAndBroadcast) {
  for (DType dtype : {DType::kUInt8, DType::kFloat16, DType::kFloat32, DType::kInt64}) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      std::vector<Shape> shapes = broadcasting_shapes(3);
      expect_kernel_agrees({"where",
                            "Where",
                            {{random_tensor(DType::kBool, shapes[0], 0, 1)},
                             {random_tensor(dtype, shapes[1], 0, 100)},
                             {random_tensor(dtype, shapes[2], 0, 100)}}});
      if (HasFailure()) return;
    }
  }
  expect_kernel_agrees({"where",
                        "Where",
                        {{random_tensor(DType::kBool, {1, 1, 128, 1}, 0, 1)},
                         {random_tensor(DType::kFloat32, {2, 4, 128, 300})},
                         {random_tensor(DType::kFloat32, {})}}});
}

TEST(LogicalNotKernel, Lengths) {
  for (int64_t length : {0, 1, 63, 64, 65, 400000}) {
    expect_kernel_agrees({"logical_not", "Not", {{random_tensor(DType::kBool, {length}, 0, 1)}}});
  }
}

}  // namespace
}  // namespace hussar
