// hussar.NormToRows(x, scale, bias?): LayerNormalization, or RMSNormalization with center=0, over the last axis, as
// rows of bytes with a scale each: hussar.QuantizeRows of the result. Outputs: bytes, their scales, and, where it is
// wanted, the same as numbers, like scale.
#include "ops/normalize.h"
#include "ops/op_def.h"
#include "tensor/row_scales.h"

namespace hussar {

static Status infer(InferContext& context) {
  const Dims* x = context.dims(0);
  HUSSAR_TRY(infer_trailing_normalization(context, DType::kInt8));
  context.set_unknown(1, DType::kFloat32);
  context.set_unknown(2, context.dtype(1));
  if (x == nullptr) return {};
  if (x->empty() || HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), context.rank(0))) !=
                        context.rank(0) - 1)
    return context.fail("normalizes more than the last axis");
  Dims scales = *x;
  scales.back() = Dim(1);
  context.set(1, DType::kFloat32, std::move(scales));
  context.set(2, context.dtype(1), *x);
  return {};
}

static Status evaluate(EvalContext& context) {
  Tensor real(DType::kFloat32, context.shape(0));
  EvalContext normalization(context.node, context.inputs(), {&real, 1}, context.evaluation());
  HUSSAR_TRY(normalize_trailing(normalization, context.attributes.get_int("center", 1) != 0));
  if (context.wants(2)) store_elements<float>(context.output(2), 0, real.elements(), real.data<float>());
  quantize_rows(real.data<float>(), context.output(1).elements(), real.shape()[real.shape().rank() - 1],
                context.output(0).data<int8_t>(), context.output(1).data<float>());
  return {};
}

extern const OpDef hussar_norm_to_rows_op = {.name = "hussar.NormToRows",
                                             .min_inputs = 2,
                                             .max_inputs = 3,
                                             .min_outputs = 2,
                                             .max_outputs = 3,
                                             .infer = infer,
                                             .evaluate = evaluate};

}  // namespace hussar
