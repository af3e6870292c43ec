// What hussar.QuantizedConv and hussar.QuantizedMatMul share: products of uint8 activations and int8 weights, or of
// both in float8e4m3fn (FP8).
//
//   sum  = sum over k of (x - x_zero_point) * w            exact (tensor cores: see docs/decisions.md of FP8)
//   y    = fma(float(sum), x_scale * w_scale[m], bias[m])  in FP32, rounded once
//   y    = the fused program on y                          its uint8 operands stand for (q - operand_zero_point) *
//                                                          operand_scale
//   q    = saturate(round(y / y_scale) + y_zero_point)         with the attribute y_scale: the output is uint8.
//                                                              Else it has the type y_type, float32 if not given
//
// Inputs: x, w, w_scale and, perhaps, bias. Rounding is half to even; NaN gives the byte 0. The attributes x_scale and
// x_zero_point are those of input 0, or the inputs 4 and 5, one number each, where only running the model tells.
// Where x is int8 it consists of rows, as hussar.QuantizeRows makes them: input 4 has a scale for each, there is no
// zero point, and y = fma(float(sum), x_scale[row] * w_scale[m], bias[m]). hussar.QuantizedMatMul only. In FP8 there
// are no zero points: q = saturate(y / y_scale), rounded to the nearest float8e4m3fn, is what an output with y_scale
// and the y_type float8e4m3fn holds, NaN stays NaN, and operands of the program may be so, too.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "tensor/quant_params.h"

namespace hussar {

// The type of output 0, after checks of the attributes that say what bytes stand for.
Result<DType> check_byte_meanings(const InferContext& context);
// The same after checks of the operands, too.
Result<DType> check_quantized(const InferContext& context);
// The fused program and the output's quantization, for y in row-major order.
Status finish_quantized(EvalContext& context, std::vector<float> y);
// Numbers as the bytes that stand for them by y_scale and y_zero_point.
void store_bytes(const Attributes& attributes, std::span<const float> y, Tensor& bytes);
int64_t x_zero_point_of(const EvalContext& context);
// w_scale times x_scale, one per output channel; of rows of int8 that of row `row`.
std::vector<float> product_scales(const EvalContext& context, int64_t row = 0);

}  // namespace hussar
