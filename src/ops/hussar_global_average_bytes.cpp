// hussar.GlobalAverageBytes: the mean of every plane of bytes, which stand for reals as ops/quantized_product.h says.
//
//   y = float(sum over the plane of (x - x_zero_point)) * (x_scale / elements of the plane)
//
// The sum is exact. With the attribute y_scale the output is uint8.
#include "ops/pool.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(0) != DType::kUInt8) return context.fail("takes uint8");
  if (!context.attributes.has("x_scale")) return context.fail("has no x_scale");
  const DType dtype = HUSSAR_TRY(check_byte_meanings(context));
  const Dims* x = context.dims(0);
  if (x == nullptr) {
    context.set_unknown(0, dtype);
    return {};
  }
  if (x->size() < 2) return context.fail("takes planes of channels");
  Dims y(x->size(), Dim(1));
  std::copy_n(x->begin(), 2, y.begin());
  context.set(0, dtype, std::move(y));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  const int64_t size = shape.elements(2, shape.rank());
  const int64_t zero_point = context.attributes.get_int("x_zero_point", 0);
  const float factor = context.attributes.get_float("x_scale", 1) / static_cast<float>(size);
  const auto* x = context.input(0).data<uint8_t>();
  std::vector<float> y(static_cast<size_t>(context.output().elements()));
  for (float& mean : y) {
    int64_t sum = -size * zero_point;
    for (int64_t i = 0; i < size; ++i) sum += *x++;
    mean = static_cast<float>(sum) * factor;
  }
  return finish_quantized(context, std::move(y));
}

extern const OpDef hussar_global_average_bytes_op = {
    .name = "hussar.GlobalAverageBytes", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
