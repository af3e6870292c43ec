// com.microsoft.FusedMatMul: alpha * A' * B', where transA and transB exchange the last two dimensions of A and B, and
// transBatchA and transBatchB first move the leading dimension to the place before the last one.
#include <numeric>

#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static Result<Value*> operand(Builder& builder, size_t index, const char* matrix, const char* batch) {
  bool swaps = builder.attributes.get_int(matrix, 0) != 0;
  bool rotates = builder.attributes.get_int(batch, 0) != 0;
  int rank = builder.rank(index);
  if ((!swaps && !rotates) || rank == 0 || rank == 1) return builder.input(index);
  if (rank < 0) return builder.fail("the rank of input {} must be known", index);
  Ints perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  if (rotates) std::rotate(perm.begin(), perm.begin() + 1, perm.end() - 1);
  if (swaps) std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  Attributes attributes;
  attributes.set("perm", perm);
  return builder.make("Transpose", {builder.input(index)}, std::move(attributes));
}

static Status expand(Builder& builder) {
  Value* a = HUSSAR_TRY(operand(builder, 0, "transA", "transBatchA"));
  Value* b = HUSSAR_TRY(operand(builder, 1, "transB", "transBatchB"));
  Value* product = builder.make("MatMul", {a, b});
  float alpha = builder.attributes.get_float("alpha", 1);
  if (alpha != 1) product = builder.make("Mul", {product, builder.number(alpha, builder.dtype())});
  builder.result(0, product);
  return {};
}

static double flops(const Node& node) {
  if (node.output() == nullptr || node.input(0) == nullptr) return 0;
  auto out = node.output()->static_shape();
  auto a = node.input(0)->static_shape();
  if (!out || !a || a->rank() == 0) return 0;
  const bool transposed = node.attributes.get_int("transA", 0) != 0 && a->rank() > 1;
  return 2.0 * static_cast<double>(out->elements()) * static_cast<double>((*a)[a->rank() - (transposed ? 2 : 1)]);
}

extern const OpDef fused_mat_mul_op = {
    .name = "com.microsoft.FusedMatMul", .min_inputs = 2, .max_inputs = 2, .expand = expand, .flops = flops};

}  // namespace hussar
