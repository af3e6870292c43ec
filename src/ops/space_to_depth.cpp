// SpaceToDepth: [N, C, H*b, W*b] to [N, b*b*C, H, W]; the new channels count (block row, block column, c).
#include "ops/block_space.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto [dims, block] = HUSSAR_TRY(block_space(context));
  Dim height = HUSSAR_TRY(divide_exactly(context, dims[2], block));
  Dim width = HUSSAR_TRY(divide_exactly(context, dims[3], block));
  context.set(0, context.dtype(0), {dims[0], dims[1] * Dim(block * block), height, width});
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& in = context.shape(0);
  int64_t block = context.attributes.get_int("blocksize", 1);
  // The output seen as [N, block row, block column, C, H, W], with the strides of the input.
  Shape shape{in[0], block, block, in[1], in[2] / block, in[3] / block};
  ElementStrides strides = {in[1] * in[2] * in[3], in[3], 1, in[2] * in[3], block * in[3], block};
  copy_strided(context.input(0), 0, shape, strides, context.output());
  return {};
}

extern const OpDef space_to_depth_op = {
    .name = "SpaceToDepth", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
