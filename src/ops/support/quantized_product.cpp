#include "ops/quantized_product.h"

#include <cmath>

#include "ops/quantize.h"
#include "ops/scalar_program.h"
#include "tensor/convert.h"
#include "tensor/dynamic_quantize.h"

namespace hussar {

Result<DType> check_byte_meanings(const InferContext& context) {
  const Attributes& attributes = context.attributes;
  for (const char* name : {"x_scale", "y_scale", "operand_scale"}) {
    const float scale = attributes.get_float(name, 1);
    if (!(scale > 0) || !std::isfinite(scale)) return context.fail("{} is {}", name, scale);
  }
  for (const char* name : {"x_zero_point", "y_zero_point", "operand_zero_point"}) {
    const int64_t zero_point = attributes.get_int(name, 0);
    if (zero_point < 0 || zero_point > 255) return context.fail("{} is {}", name, zero_point);
  }
  const auto dtype = static_cast<DType>(attributes.get_int("y_type", static_cast<int64_t>(DType::kFloat32)));
  if (attributes.has("y_scale") && dtype != kFp8) return DType::kUInt8;
  if (attributes.has("y_scale")) {
    if (attributes.get_int("y_zero_point", 0) != 0) return context.fail("y_zero_point is not 0, as FP8 wants it");
    return kFp8;
  }
  if (dtype != DType::kFloat32 && !is_half(dtype)) return context.fail("y_type is no float");
  return dtype;
}

// Of rows of int8, with a scale each.
static Result<DType> check_rows(const InferContext& context) {
  if (context.node.op != "hussar.QuantizedMatMul" || context.dtype(1) != DType::kInt8)
    return context.fail("takes rows of int8 and a matrix of int8");
  if (context.dtype(2) != DType::kFloat32 || context.dtype(4) != DType::kFloat32)
    return context.fail("takes float32 scales");
  if (context.has(5) || context.attributes.has("x_scale") || context.attributes.has("x_zero_point"))
    return context.fail("has another scale or a zero point of its rows");
  const Dims* x = context.dims(0);
  const Dims* scales = context.dims(4);
  if (x == nullptr || scales == nullptr) return check_byte_meanings(context);
  Dims wanted = *x;
  if (!wanted.empty()) wanted.back() = Dim(1);
  if (*scales != wanted) return context.fail("scales of shape {} for rows of {}", to_string(*scales), to_string(*x));
  return check_byte_meanings(context);
}

Result<DType> check_quantized(const InferContext& context) {
  const bool is_fp8 = context.dtype(0) == kFp8 && context.dtype(1) == kFp8;
  if (context.dtype(0) == DType::kInt8) return check_rows(context);
  if (!is_fp8 && (context.dtype(0) != DType::kUInt8 || context.dtype(1) != DType::kInt8))
    return context.fail("takes uint8 activations and int8 weights, or both in float8e4m3fn");
  if (is_fp8 && (context.input_count() > 4 || context.attributes.get_int("x_zero_point", 0) != 0))
    return context.fail("has a zero point of its input, which is float8e4m3fn");
  if (context.dtype(2) != DType::kFloat32) return context.fail("takes float32 scales");
  if (context.input_count() > 4) {
    if (context.dtype(4) != DType::kFloat32 || context.dtype(5) != DType::kUInt8)
      return context.fail("takes a float32 scale and a uint8 zero point of its input");
    for (size_t i : {4, 5}) HUSSAR_TRY(check_parameter(context, i, nullptr));
  }
  return check_byte_meanings(context);
}

static bool is_dynamic(const EvalContext& context) {
  return has_dynamic_scale(context.node.program, context.node.program_inputs, context.input_count());
}

static bool has_rows(const EvalContext& context) { return context.input(0).dtype() == DType::kInt8; }

int64_t x_zero_point_of(const EvalContext& context) {
  if (has_rows(context)) return 0;
  if (is_dynamic(context)) return static_cast<int64_t>(context.number(5, 0));
  return context.attributes.get_int("x_zero_point", 0);
}

std::vector<float> product_scales(const EvalContext& context, int64_t row) {
  float x_scale = context.attributes.get_float("x_scale", 1);
  if (has_rows(context))
    x_scale = context.input(4).data<float>()[row];
  else if (is_dynamic(context))
    x_scale = static_cast<float>(context.number(4, 1));
  auto w_scale = context.read<float>(2);
  std::vector<float> products(static_cast<size_t>(w_scale.size()));
  for (size_t i = 0; i < products.size(); ++i) products[i] = x_scale * w_scale[static_cast<int64_t>(i)];
  return products;
}

// The operands as FP32: the program knows nothing else.
static std::vector<Tensor> real_operands(const EvalContext& context) {
  const float scale = context.attributes.get_float("operand_scale", 1);
  const auto zero_point = static_cast<float>(context.attributes.get_int("operand_zero_point", 0));
  std::vector<Tensor> inputs(context.input_count());
  for (size_t i = static_cast<size_t>(context.node.program_inputs); i < inputs.size(); ++i) {
    inputs[i] = context.input(i);
    if (!is_quantized(inputs[i].dtype())) continue;
    Tensor real = converted(inputs[i], DType::kFloat32);
    auto* x = real.data<float>();
    for (int64_t e = 0; e < real.elements(); ++e) x[e] = (x[e] - zero_point) * scale;
    inputs[i] = std::move(real);
  }
  return inputs;
}

void store_bytes(const Attributes& attributes, std::span<const float> y, Tensor& bytes) {
  const float scale = attributes.get_float("y_scale", 1);
  const int64_t zero_point = attributes.get_int("y_zero_point", 0);
  const IntegerRange range = integer_range(DType::kUInt8);
  auto* q = bytes.data<uint8_t>();
  if (bytes.dtype() == kFp8) {
    for (size_t i = 0; i < y.size(); ++i) q[i] = float_to_small_float(y[i] / scale, kFp8, true);
    return;
  }
  for (size_t i = 0; i < y.size(); ++i) q[i] = static_cast<uint8_t>(quantize(y[i] / scale, zero_point, range));
}

Status finish_quantized(EvalContext& context, std::vector<float> y) {
  if (context.node.program) {
    if (!is_valid(*context.node.program)) return context.fail("has no valid program");
    Tensor result(DType::kFloat32, context.output().shape());
    const std::vector<Tensor> operands = real_operands(context);
    EvalContext fused(context.node, operands, {&result, 1}, context.evaluation());
    HUSSAR_TRY(evaluate_program(fused, y.data()));
    y.assign(result.data<float>(), result.data<float>() + result.elements());
  }
  if (!context.attributes.has("y_scale")) {
    store_elements<float>(context.output(), 0, std::ssize(y), y.data());
    return {};
  }
  store_bytes(context.attributes, y, context.output());
  return {};
}

}  // namespace hussar
