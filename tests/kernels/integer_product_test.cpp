// Products of two matrices of bytes give the bits of the reference evaluators, on every level.
#include <gtest/gtest.h>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

Tensor bytes_of(DType dtype, const Shape& shape) {
  return dtype == DType::kUInt8 ? random_tensor(dtype, shape, 0, 255) : random_tensor(dtype, shape, -128, 127);
}
Argument zero_of(DType dtype, const Shape& shape = {}) {
  // Often that of bytes that need no correction.
  if (pick(0, 3) == 0) return {};
  const int64_t unmoved = dtype == DType::kUInt8 ? 128 : 0;
  return {pick(0, 2) == 0 ? random_tensor(dtype, shape, static_cast<double>(unmoved), static_cast<double>(unmoved))
                          : bytes_of(dtype, shape)};
}

KernelCase product_of(const char* op, const Shape& a, const Shape& b) {
  const DType types[] = {DType::kUInt8, DType::kInt8};
  const DType left = types[pick(0, 1)], right = types[pick(0, 1)];
  KernelCase test{.kernel = "matmul_integer", .op = op, .inputs = {{bytes_of(left, a)}, {bytes_of(right, b)}}};
  const Shape one = pick(0, 1) == 0 ? Shape{} : Shape{1};
  test.inputs.push_back(zero_of(left, one));
  test.inputs.push_back(zero_of(right, one));
  return test;
}

void add_operand(KernelCase& test, ProgramOp op, const Shape& shape) {
  if (!test.program) test.program = Program{};
  test.program_inputs = 4;
  Program& program = *test.program;
  program.steps[program.step_count++] = {op, 0, 0, ProgramSource::kOperand, program.operand_count++, {}, 0, 0};
  test.inputs.push_back({random_tensor(DType::kFloat32, shape, 0.001, 0.002)});
}

void add_number(KernelCase& test, ProgramOp op, float number) {
  if (!test.program) test.program = Program{};
  test.program_inputs = 4;
  Program& program = *test.program;
  program.steps[program.step_count++] = {op, 0, 0, ProgramSource::kConstant, 0, {}, number, 0};
}

void expect_products(const Shape& a, const Shape& b, const Shape& y) {
  expect_kernel_agrees(product_of("MatMulInteger", a, b));
  KernelCase test = product_of("hussar.IntegerMatMul", a, b);
  if (pick(0, 3) > 0) add_operand(test, ProgramOp::kMul, pick(0, 1) == 0 ? Shape{} : Shape{1, 1});
  switch (pick(0, 5)) {
    case 0: add_number(test, ProgramOp::kMul, 0.125F); break;
    case 1: add_operand(test, ProgramOp::kAdd, y); break;
    case 2: add_operand(test, ProgramOp::kAdd, {y[y.rank() - 1]}); break;
    case 3:
      add_number(test, ProgramOp::kMul, 0.37F);
      add_operand(test, ProgramOp::kAdd, y);
      add_number(test, ProgramOp::kMax, -3);
      break;
    default: break;
  }
  if (pick(0, 2) == 0) {
    test.attributes.set("y_scale", 0.7F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  expect_kernel_agrees(test);
}

TEST(IntegerProduct, OddSizes) {
  for (int i = 0; i < 60; ++i) {
    const int64_t m = pick(1, 70), k = pick(1, 150), n = pick(1, 70);
    expect_products({m, k}, {k, n}, {m, n});
    if (testing::Test::HasFatalFailure()) return;
  }
  for (int64_t k : {1, 3, 4, 31, 32, 33, 63, 64, 65, 127, 128, 129, 600}) {
    expect_products({33, k}, {k, 17}, {33, 17});
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(IntegerProduct, Batches) {
  for (int i = 0; i < 40; ++i) {
    const int64_t m = pick(1, 40), k = pick(1, 80), n = pick(1, 40), b = pick(1, 3), h = pick(1, 4);
    expect_products({b, h, m, k}, {b, h, k, n}, {b, h, m, n});
    expect_products({b, h, m, k}, {h, k, n}, {b, h, m, n});
    expect_products({b, 1, m, k}, {1, h, k, n}, {b, h, m, n});
    expect_products({b, h, m, k}, {k, n}, {b, h, m, n});
    expect_products({m, k}, {b, h, k, n}, {b, h, m, n});
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(IntegerProduct, ListsAndEmptyOperands) {
  for (int i = 0; i < 10; ++i) {
    const int64_t k = pick(1, 90), n = pick(1, 40), b = pick(1, 4);
    expect_kernel_agrees(product_of("MatMulInteger", {k}, {k, n}));
    expect_kernel_agrees(product_of("MatMulInteger", {n, k}, {k}));
    expect_kernel_agrees(product_of("MatMulInteger", {k}, {b, k, n}));
    expect_kernel_agrees(product_of("MatMulInteger", {b, n, k}, {k}));
    if (testing::Test::HasFatalFailure()) return;
  }
  expect_kernel_agrees(product_of("MatMulInteger", {5, 0}, {0, 3}));
  expect_kernel_agrees(product_of("MatMulInteger", {0, 7}, {7, 3}));
  expect_kernel_agrees(product_of("hussar.IntegerMatMul", {5, 0}, {0, 3}));
}

// Sums at the ends of what 16-bit pairs, and 24 bits of a float, could hold.
TEST(IntegerProduct, LargestSums) {
  for (DType left : {DType::kUInt8, DType::kInt8}) {
    for (DType right : {DType::kUInt8, DType::kInt8}) {
      for (const char* op : {"MatMulInteger", "hussar.IntegerMatMul"}) {
        auto extreme = [](DType dtype, const Shape& shape) {
          const double most = dtype == DType::kUInt8 ? 255 : -128;
          return Argument{random_tensor(dtype, shape, most, most)};
        };
        auto zero = [](DType dtype) {
          const double least = dtype == DType::kUInt8 ? 0 : 127;
          return Argument{random_tensor(dtype, {}, least, least)};
        };
        KernelCase test{.kernel = "matmul_integer", .op = op, .inputs = {}};
        test.inputs = {extreme(left, {19, 3001}), extreme(right, {3001, 21}), zero(left), zero(right)};
        expect_kernel_agrees(test);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(IntegerProduct, RefusesWhatItCannot) {
  KernelCase test = product_of("MatMulInteger", {5, 7}, {7, 3});
  test.inputs[2] = {bytes_of(test.inputs[0].tensor.dtype(), {5})};
  EXPECT_EQ(refusal_of(test), "several zero points");
  test = product_of("MatMulInteger", {1, 65537}, {65537, 1});
  EXPECT_EQ(refusal_of(test), "sums may overflow");
}

}  // namespace
}  // namespace hussar
