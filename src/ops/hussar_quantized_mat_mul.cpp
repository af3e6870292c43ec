// hussar.QuantizedMatMul(x, w, w_scale, bias?, x_scale?, x_zero_point?): the product of rows of uint8 x with the int8
// matrix w (k x n), of rows of int8 that have a scale each, or of both in FP8; see quantized_product.h.
#include <cmath>

#include "ops/op_def.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType dtype = HUSSAR_TRY(check_quantized(context));
  context.set_unknown(0, dtype);
  const Dims* x = context.dims(0);
  const Dims* w = context.dims(1);
  if (x == nullptr || w == nullptr) return {};
  if (x->empty() || w->size() != 2) return context.fail("takes rows and a matrix");
  const Dim& depth = x->back();
  if (depth.is_constant() && (*w)[0].is_constant() && !(depth == (*w)[0]))
    return context.fail("rows of {} elements cannot be multiplied by a matrix with {} rows", depth.value(),
                        (*w)[0].value());
  const Dims* bias = context.dims(3);
  if (bias != nullptr && (bias->size() != 1 || !((*bias)[0] == (*w)[1])))
    return context.fail("a bias of shape {} for {} columns", to_string(*bias), (*w)[1].to_string());
  Dims output(x->begin(), x->end() - 1);
  output.push_back((*w)[1]);
  context.set(0, dtype, std::move(output));
  return {};
}

// Sums of type T, which are exact: int64_t for integers; double for FP8, whose products are multiples of 2^-18 and less
// than 2^18.
template <class T>
static Status evaluate_in(EvalContext& context) {
  const int64_t k = context.shape(1)[0], n = context.shape(1)[1];
  const int64_t rows = k == 0 ? 0 : context.input(0).elements() / k;
  const int64_t zero_point = x_zero_point_of(context);
  const auto x = context.read<T>(0), w = context.read<T>(1);
  const bool has_rows = context.input(0).dtype() == DType::kInt8;
  std::vector<float> scales(static_cast<size_t>(context.input(2).elements()));
  if (!has_rows) scales = product_scales(context);
  if (std::ssize(scales) != n) return context.fail("{} scales for {} columns", scales.size(), n);
  std::vector<float> bias(static_cast<size_t>(n), 0);
  if (context.has(3)) load_elements<float>(context.input(3), 0, context.input(3).elements(), bias.data());
  std::vector<float> y(static_cast<size_t>(rows * n));
  std::vector<T> sums(static_cast<size_t>(n));
  for (int64_t row = 0; row < rows; ++row) {
    std::fill(sums.begin(), sums.end(), T(0));
    for (int64_t i = 0; i < k; ++i) {
      const T factor = x[row * k + i] - static_cast<T>(zero_point);
      const T* const line = w.data() + i * n;
      for (int64_t column = 0; column < n; ++column) sums[column] += factor * line[column];
    }
    if (has_rows) scales = product_scales(context, row);
    for (int64_t column = 0; column < n; ++column)
      y[row * n + column] = std::fma(static_cast<float>(sums[column]), scales[column], bias[column]);
  }
  return finish_quantized(context, std::move(y));
}

static Status evaluate(EvalContext& context) {
  return context.input(0).dtype() == kFp8 ? evaluate_in<double>(context) : evaluate_in<int64_t>(context);
}

static double flops(const Node& node) {
  const Value* w = node.input(1);
  auto out = node.output() == nullptr ? std::nullopt : node.output()->static_shape();
  if (!out || w == nullptr || w->rank() != 2 || !(*w->dims)[0].is_constant()) return 0;
  return 2.0 * static_cast<double>(out->elements()) * static_cast<double>((*w->dims)[0].value());
}

extern const OpDef hussar_quantized_mat_mul_op = {.name = "hussar.QuantizedMatMul",
                                                  .min_inputs = 3,
                                                  .max_inputs = 6,
                                                  .traits = kOwnProgram,
                                                  .infer = infer,
                                                  .evaluate = evaluate,
                                                  .flops = flops};

}  // namespace hussar
