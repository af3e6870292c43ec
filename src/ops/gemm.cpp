// Gemm: alpha * A' * B' + beta * C, where A' and B' are the matrices A and B, transposed when transA and transB say so,
// and C (optional) is broadcast to the product.
#include "ops/arguments.h"
#include "ops/matmul.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

Status infer(InferContext& context) {
  Dims out;
  Dim depth[2];
  for (size_t i = 0; i < 2; ++i) {
    const Dims* dims = context.dims(i);
    if (context.dtype(i) != context.dtype(0)) return context.fail("A and B have different dtypes");
    if (dims != nullptr && dims->size() != 2)
      return context.fail("input {} must be a matrix, it has rank {}", i, dims->size());
    bool transposed = context.attributes.get_int(i == 0 ? "transA" : "transB", 0) != 0;
    // The depth is the last dimension of A and the first one of B.
    size_t depth_axis = (i == 0) != transposed ? 1 : 0;
    depth[i] = dims != nullptr ? (*dims)[depth_axis] : context.fresh();
    out.push_back(dims != nullptr ? (*dims)[1 - depth_axis] : context.fresh());
  }
  HUSSAR_TRY(same_dim(context, depth[0], depth[1]));
  if (const Dims* added = context.dims(2)) {
    Dims both = HUSSAR_TRY(context.broadcast_dims(out, *added));
    bool grows = both.size() > 2;
    for (size_t i = 0; i < 2 && !grows; ++i)
      grows = out[i].is_constant() && both[i].is_constant() && !(out[i] == both[i]);
    if (grows) return context.fail("C of shape {} is larger than the product {}", to_string(*added), to_string(out));
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

Status evaluate(EvalContext& context) {
  const Shape& a = context.shape(0);
  const Shape& b = context.shape(1);
  const Shape& out = context.output().shape();
  bool transposed_a = context.attributes.get_int("transA", 0) != 0;
  bool transposed_b = context.attributes.get_int("transB", 0) != 0;
  auto alpha = static_cast<double>(context.attributes.get_float("alpha", 1));
  auto beta = static_cast<double>(context.attributes.get_float("beta", 1));
  int64_t m = out[0], n = out[1], k = a[transposed_a ? 0 : 1];
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    auto y = context.read<T>(1);
    auto z = context.write<T>();
    std::vector<Accumulator<T>> sums(static_cast<size_t>(m * n));
    MatrixView<T> left{x.data(), transposed_a ? 1 : a[1], transposed_a ? a[1] : 1};
    MatrixView<T> right{y.data(), transposed_b ? 1 : b[1], transposed_b ? b[1] : 1};
    multiply_matrices(left, right, m, n, k, sums.data());
    // Scaling integers by 1 must not take the way through floating point, which loses low bits.
    auto scaled = [](auto value, double scale) {
      return scale == 1 ? value : static_cast<decltype(value)>(static_cast<double>(static_cast<T>(value)) * scale);
    };
    if (!context.has(2)) {
      for (int64_t i = 0; i < z.size(); ++i) z[i] = static_cast<T>(scaled(sums[static_cast<size_t>(i)], alpha));
      return {};
    }
    auto c = context.read<T>(2);
    for_each_index(out, {broadcast_strides(context.shape(2), out)}, [&](int64_t i, const int64_t* offset) {
      auto added = static_cast<Accumulator<T>>(c[offset[0]]);
      z[i] = static_cast<T>(scaled(sums[static_cast<size_t>(i)], alpha) + scaled(added, beta));
    });
    return {};
  });
}

double flops(const Node& node) {
  if (node.output() == nullptr || node.input(0) == nullptr) return 0;
  auto out = node.output()->static_shape();
  auto a = node.input(0)->static_shape();
  if (!out || !a || a->rank() != 2) return 0;
  int64_t depth = (*a)[node.attributes.get_int("transA", 0) != 0 ? 0 : 1];
  return 2.0 * static_cast<double>(out->elements()) * static_cast<double>(depth);
}

}  // namespace

extern const OpDef gemm_op = {
    .name = "Gemm", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
