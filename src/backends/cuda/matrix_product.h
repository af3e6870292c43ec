// MatMul and com.microsoft.FusedMatMul as sizes and strides.
#pragma once
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

inline constexpr int kBatchLoops = 4;

// Element (row, i) of entry e of a is a[batch offset + row * a_row + i * a_depth], element (i, column) of b is
// b[batch offset + column * b_column + i * b_depth]; y is dense. In elements.
struct MatrixProduct {
  int64_t m = 1, n = 1, k = 1, batch = 1;
  int64_t a_row = 0, a_depth = 1, b_column = 0, b_depth = 1;
  // Loops over the batch, outermost first, and the steps of the operands in each: 0 where they are broadcast.
  int64_t loops[kBatchLoops] = {1, 1, 1, 1};
  int64_t a_steps[kBatchLoops] = {}, b_steps[kBatchLoops] = {};
};

// Fails where the shapes do not go together or have more than kBatchLoops batch dimensions.
Result<MatrixProduct> matrix_product(const Attributes& attributes, const Operand& a, const Operand& b,
                                     const Operand& y);

// What all kernels ask of such a node: FP32, FP16 or BF16 operands in plain layout, no rotated batch.
Refusal check_matrix_product(const Problem& problem);

}  // namespace hussar::cuda
