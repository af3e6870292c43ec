// hussar.QuantizeRows(x): every row, which is what lies along the last axis, as int8 with a scale of its own that is
// found when the model runs. Outputs: the bytes, like x, and the scales, float32, like x with one element in each row.
//
//   scale = largest magnitude of the row / 127           0 where that is below 1e-30; NaN where it is above 1e30, or
//                                                        where the row holds NaN
//   byte  = round(x * (127 / largest magnitude))         0 where the scale is 0 or NaN
//
// Both quotients are rounded to float32; the product is not rounded before it becomes an integer, half to even.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "tensor/row_scales.h"

namespace hussar {
namespace {

Status infer(InferContext& context) {
  if (context.dtype(0) != DType::kFloat32 && !is_half(context.dtype(0))) return context.fail("takes floats");
  const Dims* x = context.dims(0);
  context.set_unknown(0, DType::kInt8);
  context.set_unknown(1, DType::kFloat32);
  if (x == nullptr) return {};
  if (x->empty()) return context.fail("takes rows");
  Dims scales = *x;
  scales.back() = Dim(1);
  context.set(0, DType::kInt8, *x);
  context.set(1, DType::kFloat32, std::move(scales));
  return {};
}

Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  const auto x = context.read<float>(0);
  quantize_rows(x.data(), context.output(1).elements(), shape[shape.rank() - 1], context.output(0).data<int8_t>(),
                context.output(1).data<float>());
  return {};
}

}  // namespace

extern const OpDef hussar_quantize_rows_op = {.name = "hussar.QuantizeRows",
                                              .min_inputs = 1,
                                              .max_inputs = 1,
                                              .min_outputs = 2,
                                              .max_outputs = 2,
                                              .infer = infer,
                                              .evaluate = evaluate};

}  // namespace hussar
