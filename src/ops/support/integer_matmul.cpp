// Reference matrix products of quantised operands.
#include "ops/integer_matmul.h"

namespace hussar {

Status infer_integer_matmul(InferContext& context, size_t a, size_t b, DType dtype) {
  if (context.rank(a) == 0 || context.rank(b) == 0) return context.fail("an operand is a scalar");
  if (context.dims(a) == nullptr || context.dims(b) == nullptr) return context.set_unknown(0, dtype), Status();
  Dims x = *context.dims(a), y = *context.dims(b);
  bool x_vector = x.size() == 1, y_vector = y.size() == 1;
  if (x_vector) x.insert(x.begin(), Dim(1));
  if (y_vector) y.push_back(Dim(1));
  Dim rows = x[x.size() - 2], columns = y.back(), inner = x.back(), other = y[y.size() - 2];
  if (inner.is_constant() && other.is_constant() && !(inner == other)) {
    return context.fail("shapes {} and {} cannot be multiplied", to_string(*context.dims(a)),
                        to_string(*context.dims(b)));
  }
  Dims result = HUSSAR_TRY(context.broadcast_dims(Dims(x.begin(), x.end() - 2), Dims(y.begin(), y.end() - 2)));
  if (!x_vector) result.push_back(rows);
  if (!y_vector) result.push_back(columns);
  context.set(0, dtype, std::move(result));
  return {};
}

double integer_matmul_flops(const Node& node) {
  auto output = node.output() != nullptr ? node.output()->static_shape() : std::nullopt;
  auto a = node.input(0) != nullptr ? node.input(0)->static_shape() : std::nullopt;
  if (!output || !a || a->rank() == 0) return 0;
  return 2.0 * static_cast<double>(output->elements()) * static_cast<double>((*a)[a->rank() - 1]);
}

Result<ElementStrides> matrix_parameter_strides(const EvalContext& context, size_t parameter, const Shape& target,
                                                bool by_row) {
  Shape shape = context.shape(parameter);
  if (shape.elements() == 1) return zero_strides(target);
  if (shape.rank() == 1 && by_row && target.rank() > 1) shape.push_back(1);
  bool fits = shape.rank() <= target.rank();
  for (int i = 1; fits && i <= shape.rank(); ++i) {
    int64_t size = shape[shape.rank() - i];
    fits = size == 1 || size == target[target.rank() - i];
  }
  if (!fits)
    return context.fail("input {} of shape {} does not belong to a matrix of shape {}", parameter,
                        context.shape(parameter).to_string(), target.to_string());
  return broadcast_strides(shape, target);
}

Result<std::vector<double>> centered_matrix(const EvalContext& context, size_t data, size_t zero_point, bool by_row) {
  const Tensor& tensor = context.input(data);
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  load_elements<double>(tensor, 0, tensor.elements(), values.data());
  if (!context.has(zero_point)) return values;
  auto zero = context.read<double>(zero_point);
  ElementStrides strides = HUSSAR_TRY(matrix_parameter_strides(context, zero_point, tensor.shape(), by_row));
  for_each_index(tensor.shape(), {strides}, [&](int64_t i, const int64_t* offset) { values[i] -= zero[*offset]; });
  return values;
}

std::vector<double> multiply(const Shape& a_shape, const std::vector<double>& a, const Shape& b_shape,
                             const std::vector<double>& b, int64_t count) {
  auto matrix = [](const Shape& shape, bool left) {  // the batch axes, and rows and columns of a rank of at least 2
    Shape full = shape;
    if (shape.rank() == 1) full = left ? Shape{1, shape[0]} : Shape{shape[0], 1};
    return full;
  };
  Shape x = matrix(a_shape, true), y = matrix(b_shape, false);
  int64_t rows = x[x.rank() - 2], inner = x[x.rank() - 1], columns = y[y.rank() - 1];
  Shape x_batch(x.dims().first(static_cast<size_t>(x.rank() - 2))),
      y_batch(y.dims().first(static_cast<size_t>(y.rank() - 2)));
  Shape batch = x_batch.rank() >= y_batch.rank() ? x_batch : y_batch;
  for (int i = 1; i <= std::min(x_batch.rank(), y_batch.rank()); ++i) {
    int64_t p = x_batch[x_batch.rank() - i], q = y_batch[y_batch.rank() - i];
    batch[batch.rank() - i] = p == 1 ? q : p;
  }
  std::vector<double> result(static_cast<size_t>(count), 0);
  if (count == 0) return result;
  for_each_index(batch, {broadcast_strides(x_batch, batch), broadcast_strides(y_batch, batch)},
                 [&](int64_t n, const int64_t* offset) {
                   const double* left = a.data() + offset[0] * rows * inner;
                   const double* right = b.data() + offset[1] * inner * columns;
                   double* out = result.data() + n * rows * columns;
                   for (int64_t r = 0; r < rows; ++r) {
                     for (int64_t k = 0; k < inner; ++k) {
                       double factor = left[r * inner + k];
                       for (int64_t c = 0; c < columns; ++c) out[r * columns + c] += factor * right[k * columns + c];
                     }
                   }
                 });
  return result;
}

}  // namespace hussar
