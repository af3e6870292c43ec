// Matrix products of quantised operands, shared by MatMulInteger and QLinearMatMul.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

// Output 0 of numpy's matmul of inputs a and b: operands of rank 1 lose their axis, leading axes broadcast.
Status infer_integer_matmul(InferContext& context, size_t a, size_t b, DType dtype);

// From the static shapes of input 0 and output 0; 0 when they are unknown.
double integer_matmul_flops(const Node& node);

// The elements of input `data` minus its zero point. Parameters of a matrix operand are one number, one per row
// (`by_row`) or per column of the last two axes, or of any shape that broadcasts to the operand's.
Result<std::vector<double>> centered_matrix(const EvalContext& context, size_t data, size_t zero_point, bool by_row);
// The same parameter for every element of `target`, as offsets into it (rows and columns as in centered_matrix).
Result<ElementStrides> matrix_parameter_strides(const EvalContext& context, size_t parameter, const Shape& target,
                                                bool by_row);

// y = a x b; y has the shape that infer_integer_matmul gives.
std::vector<double> multiply(const Shape& a_shape, const std::vector<double>& a, const Shape& b_shape,
                             const std::vector<double>& b, int64_t count);

}  // namespace hussar
