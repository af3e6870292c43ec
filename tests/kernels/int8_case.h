// Random INT8 products with random ends of their tiles, for expect_kernel_agrees.
#pragma once
#include <functional>

#include "tests/kernels/kernel_case.h"

namespace hussar {

ProgramStep step(ProgramOp op);
// Appends to the fused program; operands are inputs from 4 on.
void add_step(KernelCase& test, ProgramStep next);
void add_full_operand(KernelCase& test, DType dtype, const Shape& shape, Layout layout, int64_t gap);
// One number per column.
void add_column_operand(KernelCase& test, ProgramOp op, const Shape& output, Layout layout);
// A number per row times one per column, before what the program does so far.
void add_row_term(KernelCase& test, const Shape& output, Layout layout);
// Bytes or real numbers out; nothing, bounds and a factor per column, a residual of either kind with bounds, or a
// program of several steps. Sometimes with a term of rank one before it.
void add_epilogue(KernelCase& test, const Shape& output, Layout layout, int64_t gap);

Argument random_bytes(const Shape& shape, Layout layout, int64_t gap);
KernelCase product_case(const char* kernel, const char* op, Argument x, const Shape& weights, int64_t k,
                        int64_t filters);

// What becomes of the random weights; none: they stay.
using ChangeWeights = std::function<void(Tensor& weights)>;
void expect_int8_conv(const char* kernel, const Shape& input, const Shape& filter, const Attributes& extra, int64_t gap,
                      const ChangeWeights& change = {});
void expect_int8_matmul(const char* kernel, int64_t rows, int64_t k, int64_t n, const ChangeWeights& change = {});

}  // namespace hussar
