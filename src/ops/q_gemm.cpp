// com.microsoft.QGemm: Gemm of quantized matrices. Inputs: a, its scale and zero point, b, its scale and zero point
// (one number each, or one per column of the product), the bias as integers whose scale is alpha * a_scale * b_scale,
// the scale and zero point of the result. Without them the result stays real.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  const bool turned = builder.attributes.get_int("transB", 0) != 0;
  const float alpha = builder.attributes.get_float("alpha", 1);
  std::vector<Value*> inputs = {HUSSAR_TRY(dequantized(builder, 0)),
                                HUSSAR_TRY(dequantized(builder, 3, turned ? 0 : 1))};
  if (builder.has(6)) {
    Value* scale = builder.make("Mul", {builder.input(1), builder.input(4)});
    if (alpha != 1) scale = builder.make("Mul", {scale, builder.number(alpha, DType::kFloat32)});
    Attributes attributes;
    attributes.set("axis", int64_t{builder.rank(6)} - 1);
    inputs.push_back(builder.make("DequantizeLinear", {builder.input(6), scale}, std::move(attributes)));
  }
  Value* y = builder.make("Gemm", std::move(inputs), builder.attributes);
  if (builder.has(7)) y = HUSSAR_TRY(quantized(builder, y, 7));
  builder.result(0, y);
  return {};
}

extern const OpDef q_gemm_op = {.name = "com.microsoft.QGemm", .min_inputs = 6, .max_inputs = 9, .expand = expand};

}  // namespace hussar
