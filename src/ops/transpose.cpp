// Transpose: the dimensions in the order `perm`, reversed when it is absent.
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Ints permutation(const Attributes& attributes, int rank) {
  if (attributes.has("perm")) return attributes.get_ints("perm");
  Ints reversed;
  for (int axis = rank - 1; axis >= 0; --axis) reversed.push_back(axis);
  return reversed;
}

static Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    if (context.attributes.has("perm")) {
      context.set_rank(0, context.dtype(0), static_cast<int>(context.attributes.get_ints("perm").size()));
    } else {
      context.set_unknown(0, context.dtype(0));
    }
    return {};
  }
  Ints perm = permutation(context.attributes, context.rank(0));
  std::vector<bool> seen(dims->size(), false);
  Dims out;
  for (int64_t axis : perm) {
    bool valid = axis >= 0 && axis < context.rank(0) && !seen[static_cast<size_t>(axis)];
    if (!valid) return context.fail("perm is not a permutation of {} axes", dims->size());
    seen[static_cast<size_t>(axis)] = true;
    out.push_back((*dims)[static_cast<size_t>(axis)]);
  }
  if (perm.size() != dims->size()) return context.fail("perm has {} axes, the input {}", perm.size(), dims->size());
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

static Status evaluate(EvalContext& context) {
  const ElementStrides own = row_major_strides(context.shape(0));
  ElementStrides strides;
  for (int64_t axis : permutation(context.attributes, context.shape(0).rank())) {
    strides.push_back(own[static_cast<int>(axis)]);
  }
  copy_strided(context.input(0), 0, context.output().shape(), strides, context.output());
  return {};
}

extern const OpDef transpose_op = {
    .name = "Transpose", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
