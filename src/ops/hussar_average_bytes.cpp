// hussar.AverageBytes: AveragePool of bytes, which stand for reals as ops/quantized_product.h says.
//
//   y = float(sum over the window of (x - x_zero_point)) * (x_scale / what AveragePool divides by)
//
// The sum is exact; padding counts as real zeros. With the attribute y_scale the output is uint8.
#include "ops/pool.h"
#include "ops/quantized_product.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(0) != DType::kUInt8) return context.fail("takes uint8");
  if (!context.attributes.has("x_scale")) return context.fail("has no x_scale");
  if (!fits_average_bytes(context.attributes)) return context.fail("has windows of too many elements");
  return infer_pool_to(context, HUSSAR_TRY(check_byte_meanings(context)));
}

static Status evaluate(EvalContext& context) {
  const Shape &shape = context.shape(0), &output = context.output().shape();
  const Window window = HUSSAR_TRY(pool_window(context));
  const bool include_pad = context.attributes.get_int("count_include_pad", 0) != 0;
  const int64_t zero_point = context.attributes.get_int("x_zero_point", 0);
  const float scale = context.attributes.get_float("x_scale", 1);
  const auto* x = context.input(0).data<uint8_t>();
  std::vector<float> y(static_cast<size_t>(output.elements()));
  const Shape from = spatial_shape(shape), to = spatial_shape(output);
  const int64_t planes = shape[0] * shape[1], x_plane = from.elements(), y_plane = to.elements();
  for_each_window(window, from, to, [&](int64_t at, const std::vector<int64_t>& offsets, int64_t padded_count) {
    const int64_t inside = std::ssize(offsets), count = std::max<int64_t>(include_pad ? padded_count : inside, 1);
    const float factor = scale / static_cast<float>(count);
    for (int64_t plane = 0; plane < planes; ++plane) {
      int64_t sum = -inside * zero_point;
      for (int64_t offset : offsets) sum += x[plane * x_plane + offset];
      y[static_cast<size_t>(plane * y_plane + at)] = static_cast<float>(sum) * factor;
    }
  });
  return finish_quantized(context, std::move(y));
}

extern const OpDef hussar_average_bytes_op = {
    .name = "hussar.AverageBytes", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
