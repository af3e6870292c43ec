// com.microsoft.MatMulIntegerToFloat: MatMul of integers, as the real numbers that they stand for. Inputs: a, b, the
// scales of a and of b, their zero points (one number, or one per column of b), a bias. A scale of a that is no
// constant comes from DynamicQuantizeLinear.
#include <algorithm>

#include "ops/op_def.h"
#include "ops/quantized_composite.h"

namespace hussar {

static Status expand(Builder& builder) {
  for (size_t i = 0; i < 4; ++i) {
    if (!builder.has(i)) return builder.fail("input {} is missing", i);
  }
  if (builder.input(2)->is_constant()) {
    Attributes columns;
    columns.set("axis", std::max<int64_t>(builder.rank(1) - 1, 0));
    Value* a = builder.make("DequantizeLinear", {builder.input(0), builder.input(2), builder.input(4)});
    Value* b = builder.make("DequantizeLinear", {builder.input(1), builder.input(3), builder.input(5)}, columns);
    Value* product = builder.make("MatMul", {a, b});
    builder.result(0, builder.has(6) ? builder.make("Add", {product, builder.input(6)}) : product);
    return {};
  }
  Value* sums = builder.make("MatMulInteger", {builder.input(0), builder.input(1), builder.input(4), builder.input(5)});
  builder.result(0, scaled_sums(builder, sums, builder.make("Mul", {builder.input(2), builder.input(3)}), 6));
  return {};
}

extern const OpDef mat_mul_integer_to_float_op = {
    .name = "com.microsoft.MatMulIntegerToFloat", .min_inputs = 4, .max_inputs = 7, .expand = expand};

}  // namespace hussar
