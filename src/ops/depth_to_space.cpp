// DepthToSpace: [N, C*b*b, H, W] to [N, C, H*b, W*b]. In mode DCR the channels count (block row, block column, c), in
// mode CRD (c, block row, block column).
#include "ops/block_space.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  std::string mode = context.attributes.get_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") return context.fail("unknown mode '{}'", mode);
  auto [dims, block] = HUSSAR_TRY(block_space(context));
  Dim channels = HUSSAR_TRY(divide_exactly(context, dims[1], block * block));
  context.set(0, context.dtype(0), {dims[0], channels, dims[2] * Dim(block), dims[3] * Dim(block)});
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& in = context.shape(0);
  bool depth_first = context.attributes.get_string("mode", "DCR") == "DCR";
  int64_t block = context.attributes.get_int("blocksize", 1);
  int64_t channels = in[1] / (block * block);
  int64_t plane = in[2] * in[3];
  int64_t column = depth_first ? channels * plane : plane;
  // The output seen as [N, C, H, block row, W, block column], with the strides of the input.
  Shape shape{in[0], channels, in[2], block, in[3], block};
  ElementStrides strides = {in[1] * plane, depth_first ? plane : block * block * plane, in[3], block * column, 1,
                            column};
  copy_strided(context.input(0), 0, shape, strides, context.output());
  return {};
}

extern const OpDef depth_to_space_op = {
    .name = "DepthToSpace", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
