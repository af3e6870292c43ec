// Linear systems with symmetric positive definite matrices. The only file that knows Eigen is linear.cpp.
#pragma once
#include <cstdint>

#include "sparsify/matrix_product.h"

namespace hussar {

// Replaces a symmetric positive definite matrix [k][k], of which the lower triangle is read, by the upper triangular U
// with matrix^-1 = U' U. Gives false where the matrix is not positive definite; it is spoiled then.
bool factor_inverse(float* matrix, int64_t k, const MatrixProduct& product);

// Solves matrix x = right for several right sides, each of `size` numbers, one after another; x replaces them. Of the
// symmetric matrix [size][size] the lower triangle is read; it is spoiled. Gives false where it is not positive
// definite.
bool solve_positive(double* matrix, int64_t size, double* right, int64_t count);

// to [columns][rows] = from [rows][columns]'
void transpose(const float* from, int64_t rows, int64_t columns, float* to);

}  // namespace hussar
