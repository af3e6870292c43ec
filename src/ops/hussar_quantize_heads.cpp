// hussar.QuantizeHeads(q, k, v): queries, keys and values, of which each is [batch][length][width], as
// hussar.QuantizedAttention reads them, with scales that are found when the model runs. Outputs: the bytes of q, k and
// v, from their offsets on, then their scales: one per head of q, per head of k and per column of v.
//
//   scale = largest magnitude of what shares it / 127     1 where that is below 1e-20, NaN where it is above 1e20
//   byte  = saturate(round(x / scale) + 128)              128 where the scale is NaN and x finite; 0 for NaN
//
// Attributes: heads, kv_heads, head_dim, v_head_dim, q_offset, k_offset and v_offset, as those of the attention.
#include <cmath>

#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/quantize.h"
#include "tensor/head_scales.h"

namespace hussar {
namespace {

constexpr int64_t kMostColumns = int64_t{1} << 30;

Status infer(InferContext& context) {
  for (size_t i = 0; i < 3; ++i) {
    if (context.dtype(i) != DType::kFloat32) return context.fail("takes float32");
  }
  for (size_t i = 0; i < 3; ++i) {
    const HeadColumns columns = head_columns(context.attributes, i);
    const bool is_sane = columns.heads > 0 && columns.width > 0 && columns.offset >= 0 &&
                         columns.heads <= kMostColumns && columns.width <= kMostColumns &&
                         columns.offset <= kMostColumns && columns.count() <= kMostColumns;
    if (!is_sane) return context.fail("heads, widths or offsets make no sense");
    const Dims* dims = context.dims(i);
    context.set(i + 3, DType::kFloat32, {Dim(columns.scales())});
    context.set_unknown(i, DType::kUInt8);
    if (dims == nullptr) continue;
    const bool fits =
        dims->size() == 3 && (!(*dims)[2].is_constant() || (*dims)[2].value() >= columns.offset + columns.count());
    if (!fits) return context.fail("input {} has the shape {}", i, to_string(*dims));
    context.set(i, DType::kUInt8, {(*dims)[0], (*dims)[1], Dim(columns.count())});
  }
  return {};
}

void quantize_columns(const Tensor& x, const HeadColumns& columns, Tensor& bytes, Tensor& scales) {
  const int64_t pitch = x.shape()[2], count = columns.count(), rows = x.shape()[0] * x.shape()[1];
  const float* const from = x.data<float>() + columns.offset;
  std::vector<float> largest(static_cast<size_t>(columns.scales()), 0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < count; ++i) {
      float& most = largest[static_cast<size_t>(i / columns.group)];
      const float magnitude = std::fabs(from[row * pitch + i]);
      if (magnitude > most) most = magnitude;
    }
  }
  auto* const of_groups = scales.data<float>();
  for (size_t i = 0; i < largest.size(); ++i) of_groups[i] = head_scale(largest[i]);
  const IntegerRange range = integer_range(DType::kUInt8);
  auto* const to = bytes.data<uint8_t>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < count; ++i) {
      const float scale = of_groups[i / columns.group];
      const float quotient = std::isnan(scale) ? from[row * pitch + i] * 0.0F : from[row * pitch + i] / scale;
      to[row * count + i] = static_cast<uint8_t>(quantize(quotient, kHeadZeroPoint, range));
    }
  }
}

Status evaluate(EvalContext& context) {
  for (size_t i = 0; i < 3; ++i) {
    quantize_columns(context.input(i), head_columns(context.attributes, i), context.output(i), context.output(i + 3));
  }
  return {};
}

}  // namespace

extern const OpDef hussar_quantize_heads_op = {.name = "hussar.QuantizeHeads",
                                               .min_inputs = 3,
                                               .max_inputs = 3,
                                               .min_outputs = 6,
                                               .max_outputs = 6,
                                               .infer = infer,
                                               .evaluate = evaluate};

}  // namespace hussar
