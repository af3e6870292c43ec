// Operators of ONNX Runtime that compute on quantized tensors are written as the real numbers that these stand for:
//   QLinearSigmoid(x, ...)  =>  QuantizeLinear(Sigmoid(DequantizeLinear(x)))
// Then every pass knows them, as it knows the pairs that other quantizers write.
#pragma once
#include "ops/builder.h"

namespace hussar {

// DequantizeLinear of input `data`, whose scale and zero point are the next two inputs; several lie along `axis`.
Result<Value*> dequantized(Builder& builder, size_t data, int64_t axis = 1);
// QuantizeLinear of `real`; its scale is input `scale` and its zero point the next one, which may be missing: then the
// result has the type of input `like`, and 0.
Result<Value*> quantized(Builder& builder, Value* real, size_t scale, size_t like = 0);

// Operators with the inputs x, x_scale, x_zero_point, y_scale, y_zero_point: `op` of the real numbers.
Status expand_quantized_unary(Builder& builder, std::string_view op, Attributes attributes = {});
// The same for two operands, whose scales and zero points follow each of them.
Status expand_quantized_binary(Builder& builder, std::string_view op);
// The same for pools, which may have channels last; all attributes but channels_last are those of `op`.
Status expand_quantized_pool(Builder& builder, std::string_view op);

// The product's sums as real numbers: sums * scale + bias, where bias is an input or missing.
Value* scaled_sums(Builder& builder, Value* sums, Value* scale, size_t bias);

}  // namespace hussar
