// com.microsoft.DynamicQuantizeMatMul: MatMul of a, quantized over its own range, and integers b. Inputs: a, b, the
// scale and zero point of b (one number, or one per column), a bias.
#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  if (!builder.has(0) || !builder.has(1) || !builder.has(2)) return builder.fail("a, b or the scale of b is missing");
  std::vector<Value*> a = builder.make_many("DynamicQuantizeLinear", {builder.input(0)}, 3);
  Value* sums = builder.make("MatMulInteger", {a[0], builder.input(1), a[2], builder.input(3)});
  builder.result(0, scaled_sums(builder, sums, builder.make("Mul", {a[1], builder.input(2)}), 4));
  return {};
}

extern const OpDef dynamic_quantize_mat_mul_op = {
    .name = "com.microsoft.DynamicQuantizeMatMul", .min_inputs = 3, .max_inputs = 5, .expand = expand};

}  // namespace hussar
