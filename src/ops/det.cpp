// Det: the determinant of every matrix, by elimination with partial pivoting.
#include "ops/arguments.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  if (dims->size() < 2) return context.fail("takes matrices, not rank {}", dims->size());
  HUSSAR_TRY(same_dim(context, dims->back(), (*dims)[dims->size() - 2]));
  context.set(0, context.dtype(0), Dims(dims->begin(), dims->end() - 2));
  return {};
}

// Destroys the matrix, [n][n] row-major.
static double determinant(std::vector<double>& matrix, size_t n) {
  double result = 1;
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column + 1; row < n; ++row) {
      if (std::fabs(matrix[row * n + column]) > std::fabs(matrix[pivot * n + column])) pivot = row;
    }
    if (matrix[pivot * n + column] == 0) return 0;
    if (pivot != column) {
      std::swap_ranges(&matrix[pivot * n], &matrix[pivot * n] + n, &matrix[column * n]);
      result = -result;
    }
    result *= matrix[column * n + column];
    for (size_t row = column + 1; row < n; ++row) {
      double factor = matrix[row * n + column] / matrix[column * n + column];
      for (size_t k = column; k < n; ++k) matrix[row * n + k] -= factor * matrix[column * n + k];
    }
  }
  return result;
}

static Status evaluate(EvalContext& context) {
  auto n = static_cast<size_t>(context.shape(0)[context.shape(0).rank() - 1]);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  for (int64_t i = 0; i < y.size(); ++i) {
    const double* begin = x.data() + static_cast<size_t>(i) * n * n;
    std::vector<double> matrix(begin, begin + n * n);
    y[i] = determinant(matrix, n);
  }
  return {};
}

extern const OpDef det_op = {.name = "Det", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
