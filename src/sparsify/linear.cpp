#include "sparsify/linear.h"

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Cholesky>
#include <algorithm>
#include <vector>

namespace hussar {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// A matrix is worked on in blocks of kBlock rows: what is inside of one is done in double precision, what is between
// them by matrix products, which are cut into strips of kStrip where only a triangle is needed.
constexpr int64_t kBlock = 128, kStrip = 512;

// Of an element on the diagonal: where less of it is left than its rounding, the matrix is not positive definite.
constexpr double kLeastPivot = 1e-7;

// Whether a factor's diagonal tells of a positive definite matrix, whose diagonal is given.
bool is_positive(const Eigen::Ref<const Eigen::VectorXd>& factor, const Eigen::Ref<const Eigen::VectorXd>& diagonal) {
  return factor.allFinite() && (factor.array().square() > kLeastPivot * diagonal.array()).all();
}

// The matrix is R R' with R upper triangular, found from the last block to the first. R' takes the place of the lower
// triangle, and `inverses` gets the inverse of every diagonal block of R, one below another.
bool factor_backwards(float* matrix, int64_t k, const MatrixProduct& product, RowMajor& inverses) {
  inverses.setZero(k, kBlock);
  RowMajor panel, negative;
  const Eigen::VectorXf diagonal = Eigen::Map<RowMajor>(matrix, k, k).diagonal();
  for (int64_t first = (k - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t size = std::min(kBlock, k - first);
    Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> block(matrix + first * k + first, size, size,
                                                        Eigen::OuterStride<>(k));
    const Matrix lower = block.cast<double>().triangularView<Eigen::Lower>();
    const Matrix whole = lower.selfadjointView<Eigen::Lower>();
    Eigen::LLT<Matrix> cholesky(whole.reverse());
    const Eigen::VectorXd own = diagonal.segment(first, size).cast<double>().reverse();
    if (cholesky.info() != Eigen::Success || !is_positive(cholesky.matrixLLT().diagonal(), own)) return false;
    const Matrix found = cholesky.matrixL();
    const Matrix upper = found.reverse();
    const Matrix inverse = upper.triangularView<Eigen::Upper>().solve(Matrix::Identity(size, size));
    block = upper.transpose().cast<float>();
    inverses.block(first, 0, size, size) = inverse.cast<float>();
    if (first == 0) break;
    // The rows of R' in this block, then what they take from the rest.
    const RowMajor turned = inverse.transpose().cast<float>();
    panel.setZero(size, first);
    product({size, first, size, turned.data(), size, matrix + first * k, k, panel.data(), first});
    negative = -panel;
    for (int64_t strip = 0; strip < first; strip += kStrip) {
      const int64_t end = std::min(strip + kStrip, first);
      product({end - strip, end, size, negative.data() + strip, first, panel.data(), first, matrix + strip * k, k});
    }
    for (int64_t row = 0; row < size; ++row) std::copy_n(panel.data() + row * first, first, matrix + (first + row) * k);
  }
  return true;
}

// Inverts the lower triangular matrix that factor_backwards() left.
void invert_lower(float* matrix, int64_t k, const MatrixProduct& product, const RowMajor& inverses) {
  for (int64_t row = 0; row < k; ++row) std::fill(matrix + row * k + row + 1, matrix + (row + 1) * k, 0.0F);
  RowMajor sums, turned, negative;
  for (int64_t first = 0; first < k; first += kBlock) {
    const int64_t size = std::min(kBlock, k - first);
    Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> rows(matrix + first * k, size, first + size, Eigen::OuterStride<>(k));
    turned = rows.leftCols(first).transpose();
    sums.setZero(size, first);
    for (int64_t strip = 0; strip < first; strip += kStrip) {
      const int64_t width = std::min(kStrip, first - strip);
      product({size, width, first - strip, turned.data() + strip * size, size, matrix + strip * k + strip, k,
               sums.data() + strip, first});
    }
    negative = -inverses.block(first, 0, size, size);
    rows.leftCols(first).setZero();
    if (first > 0) product({size, first, size, negative.data(), size, sums.data(), first, matrix + first * k, k});
    rows.rightCols(size) = inverses.block(first, 0, size, size).transpose();
  }
}

void transpose_square(float* matrix, int64_t k) {
  constexpr int64_t kTile = 32;
  for (int64_t row = 0; row < k; row += kTile) {
    for (int64_t column = 0; column <= row; column += kTile) {
      for (int64_t i = row; i < std::min(row + kTile, k); ++i) {
        for (int64_t j = column; j < std::min(column + kTile, i); ++j) std::swap(matrix[i * k + j], matrix[j * k + i]);
      }
    }
  }
}

}  // namespace

bool factor_inverse(float* matrix, int64_t k, const MatrixProduct& product) {
  RowMajor inverses;
  if (!factor_backwards(matrix, k, product, inverses)) return false;
  invert_lower(matrix, k, product, inverses);
  // (R R')^-1 = (R^-1)' R^-1.
  transpose_square(matrix, k);
  return true;
}

bool solve_positive(double* matrix, int64_t size, double* right, int64_t count) {
  // In row-major order the lower triangle is the upper one.
  Eigen::Map<Matrix> whole(matrix, size, size);
  const Eigen::VectorXd diagonal = whole.diagonal();
  Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Upper> cholesky(whole);
  if (cholesky.info() != Eigen::Success || !is_positive(whole.diagonal(), diagonal)) return false;
  Eigen::Map<Matrix> sides(right, size, count);
  cholesky.solveInPlace(sides);
  return true;
}

void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  constexpr int64_t kTile = 32;
  for (int64_t row = 0; row < rows; row += kTile) {
    for (int64_t column = 0; column < columns; column += kTile) {
      for (int64_t i = row; i < std::min(row + kTile, rows); ++i) {
        for (int64_t j = column; j < std::min(column + kTile, columns); ++j) to[j * rows + i] = from[i * columns + j];
      }
    }
  }
}

}  // namespace hussar
