// MatMul: products of matrices with broadcast batch dimensions, as numpy.matmul. A list is a row on the left and a
// column on the right, and gives no dimension to the output.
#include "ops/matmul.h"

#include "ops/arguments.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

Status infer(InferContext& context) {
  if (context.dtype(0) != context.dtype(1)) return context.fail("inputs have different dtypes");
  context.set_unknown(0, context.dtype(0));
  const Dims* a = context.dims(0);
  const Dims* b = context.dims(1);
  if ((a != nullptr && a->empty()) || (b != nullptr && b->empty())) return context.fail("inputs must not be scalars");
  if (a == nullptr || b == nullptr) return {};
  const Dim& depth = a->back();
  const Dim& height = b->size() == 1 ? b->front() : (*b)[b->size() - 2];
  HUSSAR_TRY(same_dim(context, depth, height));
  Dims batch_a(a->begin(), a->end() - std::min<std::ptrdiff_t>(2, std::ssize(*a)));
  Dims batch_b(b->begin(), b->end() - std::min<std::ptrdiff_t>(2, std::ssize(*b)));
  Dims out = HUSSAR_TRY(context.broadcast_dims(batch_a, batch_b));
  if (a->size() > 1) out.push_back((*a)[a->size() - 2]);
  if (b->size() > 1) out.push_back(b->back());
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

// The operand with a row (left) or column (right) dimension where it is a list.
Shape as_matrix(const Shape& shape, bool left) {
  if (shape.rank() > 1) return shape;
  return left ? Shape{1, shape[0]} : Shape{shape[0], 1};
}

Shape batch_of(const Shape& matrix) { return Shape(matrix.dims().first(static_cast<size_t>(matrix.rank() - 2))); }

Status evaluate(EvalContext& context) {
  Shape a = as_matrix(context.shape(0), true);
  Shape b = as_matrix(context.shape(1), false);
  int64_t m = a[a.rank() - 2];
  int64_t k = a[a.rank() - 1];
  int64_t n = b[b.rank() - 1];
  Shape batch;
  const Shape& out = context.output().shape();
  int lists = (context.shape(0).rank() == 1 ? 1 : 0) + (context.shape(1).rank() == 1 ? 1 : 0);
  for (int axis = 0; axis < out.rank() - 2 + lists; ++axis) batch.push_back(out[axis]);
  ElementStrides steps_a = broadcast_strides(batch_of(a), batch);
  ElementStrides steps_b = broadcast_strides(batch_of(b), batch);
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.read<T>(1);
    auto z = context.write<T>();
    for_each_index(batch, {steps_a, steps_b}, [&](int64_t i, const int64_t* offset) {
      multiply_matrices<T>({x.data() + offset[0] * m * k, k, 1}, {y.data() + offset[1] * k * n, n, 1}, m, n, k,
                           z.data() + i * m * n);
    });
    return {};
  });
}

double flops(const Node& node) {
  if (node.output() == nullptr || node.input(0) == nullptr) return 0;
  auto out = node.output()->static_shape();
  auto a = node.input(0)->static_shape();
  if (!out || !a || a->rank() == 0) return 0;
  return 2.0 * static_cast<double>(out->elements()) * static_cast<double>((*a)[a->rank() - 1]);
}

}  // namespace

extern const OpDef mat_mul_op = {
    .name = "MatMul", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
