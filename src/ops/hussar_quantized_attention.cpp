// hussar.QuantizedAttention(q, k, v, q_scale, k_scale, v_scale, mask?, starts?): hussar.Attention on uint8, where every
// tensor is [batch][length][width]. On CPUs results are the same to the last bit however they are computed:
//
//   sum_j  = sum over d of (q[d] - q_zero_point) * (k[j][d] - k_zero_point)             exact
//   x_j    = fma(float(sum_j), q_scale[head] * k_scale[kv_head] * scale, mask[j] or 0)  for the visible keys
//   p_j    = round(255 * 2^max((x_j - largest x) * log2(e), -10))                       a byte, 0 for NaN
//   y[c]   = float(sum over j of p_j * (v[j][c] - v_zero_point)) * v_scale[c] * (1 / float(sum over j of p_j))
//
// in FP32 with one rounding per operation from left to right, 2^x as exponential() says. A mask that is NaN hides its
// key; a query that sees no key gives zeros. With the attribute y_scale the output is uint8: saturate(round(y /
// y_scale) + y_zero_point); else it has the type y_type, float32 if not given. starts are those of hussar.Attention, in
// place of the mask. GPUs have the same sums, and weights p_j in FP16 instead of bytes. Scales have one element per
// head of q and of k, and one per column of v (kv_heads * v_head_dim). Attributes: heads, kv_heads, head_dim,
// v_head_dim, q_offset, k_offset, v_offset, scale and causal as for hussar.Attention, and the zero points.
#include <cmath>
#include <cstring>

#include "ops/arguments.h"
#include "ops/attention_mask.h"
#include "ops/op_def.h"
#include "ops/quantize.h"
#include "ops/quantized_product.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

enum Input : size_t { kQ, kK, kV, kQScale, kKScale, kVScale, kMask, kStarts };

struct Form {
  int64_t heads, kv_heads, head_dim, v_head_dim;
  bool causal;
};

Form form_of(const Attributes& attributes) {
  Form form{};
  form.heads = attributes.get_int("heads", 0);
  form.kv_heads = attributes.get_int("kv_heads", form.heads);
  form.head_dim = attributes.get_int("head_dim", 0);
  form.v_head_dim = attributes.get_int("v_head_dim", form.head_dim);
  form.causal = attributes.get_int("causal", 0) != 0;
  return form;
}

constexpr const char* kOffsets[] = {"q_offset", "k_offset", "v_offset"};
constexpr const char* kZeroPoints[] = {"q_zero_point", "k_zero_point", "v_zero_point"};
// Far above any model, and small enough that products of two fit.
constexpr int64_t kMostColumns = int64_t{1} << 30;

// That input `input` has `columns` columns from its offset on, and its scales `scales` elements.
Status check_operand(const InferContext& context, size_t input, int64_t columns, int64_t scales) {
  const int64_t offset = context.attributes.get_int(kOffsets[input], 0);
  if (context.dtype(input) != DType::kUInt8) return context.fail("input {} must be uint8", input);
  if (offset < 0 || offset > kMostColumns) return context.fail("{} makes no sense", kOffsets[input]);
  const Dims* dims = context.dims(input);
  const bool fits =
      dims == nullptr || (dims->size() == 3 && (!(*dims)[2].is_constant() || (*dims)[2].value() >= offset + columns));
  if (!fits) return context.fail("input {} has the shape {}", input, to_string(*dims));
  const Dims* of_scales = context.dims(input + kQScale);
  if (context.dtype(input + kQScale) != DType::kFloat32) return context.fail("takes float32 scales");
  if (of_scales != nullptr && (of_scales->size() != 1 || !(*of_scales)[0].is(scales)))
    return context.fail("scales of shape {}, not [{}]", to_string(*of_scales), scales);
  return {};
}

// The input that says where each sequence starts, if there is one.
Status check_starts(const InferContext& context, const Dim& batch, const Dim& queries, const Dim& keys) {
  if (!context.has(kStarts)) return {};
  if (context.has(kMask)) return context.fail("starts go without a mask");
  if (context.dtype(kStarts) != DType::kInt32) return context.fail("starts must be int32");
  HUSSAR_TRY(same_dim(context, queries, keys));
  const Dims* starts = context.dims(kStarts);
  if (starts == nullptr) return {};
  if (starts->size() != 1) return context.fail("starts of shape {}", to_string(*starts));
  HUSSAR_TRY(same_dim(context, (*starts)[0], batch + Dim(1)));
  return {};
}

Status infer(InferContext& context) {
  const Form form = form_of(context.attributes);
  auto is_count = [](int64_t number) { return number > 0 && number <= kMostColumns; };
  const bool ok = is_count(form.heads) && is_count(form.kv_heads) && form.heads % form.kv_heads == 0 &&
                  is_count(form.head_dim) && is_count(form.v_head_dim);
  if (!ok) return context.fail("heads, kv_heads or head_dim make no sense");
  for (const char* name : kZeroPoints) {
    const int64_t zero_point = context.attributes.get_int(name, 0);
    if (zero_point < 0 || zero_point > 255) return context.fail("{} is {}", name, zero_point);
  }
  const DType dtype = HUSSAR_TRY(check_byte_meanings(context));
  if (dtype == kFp8) return context.fail("y_type is FP8");
  HUSSAR_TRY(check_operand(context, kQ, form.heads * form.head_dim, form.heads));
  HUSSAR_TRY(check_operand(context, kK, form.kv_heads * form.head_dim, form.kv_heads));
  HUSSAR_TRY(check_operand(context, kV, form.kv_heads * form.v_head_dim, form.kv_heads * form.v_head_dim));
  const Dims* q = context.dims(kQ);
  const Dims* k = context.dims(kK);
  const Dims* v = context.dims(kV);
  Dim batch = q != nullptr ? (*q)[0] : context.fresh(), queries = q != nullptr ? (*q)[1] : context.fresh();
  Dim keys = context.fresh();
  if (q != nullptr && k != nullptr) HUSSAR_TRY(same_dim(context, batch, (*k)[0]));
  if (q != nullptr && v != nullptr) HUSSAR_TRY(same_dim(context, batch, (*v)[0]));
  if (k != nullptr && v != nullptr) keys = HUSSAR_TRY(same_dim(context, (*k)[1], (*v)[1]));
  HUSSAR_TRY(check_attention_mask(context, kMask, {batch, Dim(form.heads), queries, keys}));
  HUSSAR_TRY(check_starts(context, batch, queries, keys));
  context.set(0, dtype, {batch, queries, Dim(form.heads * form.v_head_dim)});
  return {};
}

// 255 * 2^y for -10 <= y <= 0.
float exponential(float y) {
  const float n = std::nearbyint(y), r = y - n;
  float p = 14.06878091F;
  p = std::fma(p, r, 61.86584937F);
  p = std::fma(p, r, 176.7815516F);
  p = std::fma(p, r, 254.981658F);
  return std::ldexp(p, static_cast<int>(n));
}

// Scores of a row to probabilities; gives their sum.
int64_t soften(const std::vector<float>& scores, std::vector<int64_t>& probabilities) {
  constexpr float kLog2E = 1.44269504F;
  float largest = -std::numeric_limits<float>::infinity();
  for (float score : scores) largest = score > largest ? score : largest;
  int64_t sum = 0;
  for (size_t j = 0; j < scores.size(); ++j) {
    const float y = (scores[j] - largest) * kLog2E;
    probabilities[j] = static_cast<int64_t>(std::nearbyint(exponential(y > -10 ? y : -10)));
    sum += probabilities[j];
  }
  return sum;
}

// The rows that see each other: of a batch, or of all rows from the first on.
struct Sequence {
  int64_t batch = 0, first = 0, queries = 0, keys = 0;
};

class Evaluation {
 public:
  explicit Evaluation(EvalContext& context)
      : context_(context),
        form_(form_of(context.attributes)),
        queries_(context.shape(kQ)[1]),
        keys_(context.shape(kV)[1]) {
    const Attributes& attributes = context.attributes;
    scale_ = attributes.get_float("scale", 1.0F / std::sqrt(static_cast<float>(form_.head_dim)));
    for (size_t i = 0; i < 3; ++i) {
      zero_points_[i] = attributes.get_int(kZeroPoints[i], 0);
      offsets_[i] = attributes.get_int(kOffsets[i], 0);
    }
    const Tensor& output = context.output();
    y_ = is_half(output.dtype()) ? Tensor(DType::kFloat32, output.shape()) : output;
    if (context.has(kMask))
      mask_strides_ =
          broadcast_strides(context.shape(kMask), Shape{context.shape(kQ)[0], form_.heads, queries_, keys_});
  }

  Result<Sequence> sequence_of(int64_t batch) const {
    if (!context_.has(kStarts)) return Sequence{batch, 0, queries_, keys_};
    const auto* starts = context_.input(kStarts).data<int32_t>();
    const int64_t first = starts[batch], last = starts[batch + 1], rows = context_.shape(kQ)[0] * queries_;
    if (first < 0 || last < first || last > rows)
      return context_.fail("sequence {} cannot lie in the rows {} to {} of {}", batch, first, last, rows);
    return Sequence{0, first, last - first, last - first};
  }

  void clear() {
    for (int64_t i = 0; i < context_.output().elements(); ++i) store(i, 0);
  }

  // Halves are rounded at the end.
  void finish() {
    Tensor& output = context_.output();
    if (is_half(output.dtype()) && output.bytes() > 0)
      std::memcpy(output.raw(), converted(y_, output.dtype()).raw(), output.bytes());
  }

  // One query of one head.
  void attend(const Sequence& sequence, int64_t head, int64_t row) {
    const int64_t kv_head = head / (form_.heads / form_.kv_heads), keys = sequence.keys;
    const int64_t visible = form_.causal ? std::clamp<int64_t>(row + 1 + keys - sequence.queries, 0, keys) : keys;
    const float scale =
        context_.input(kQScale).data<float>()[head] * context_.input(kKScale).data<float>()[kv_head] * scale_;
    const uint8_t* q = row_of(kQ, sequence, row, head * form_.head_dim);
    std::vector<float> scores(static_cast<size_t>(visible));
    for (int64_t j = 0; j < visible; ++j) {
      const uint8_t* k = row_of(kK, sequence, j, kv_head * form_.head_dim);
      int64_t sum = 0;
      for (int64_t d = 0; d < form_.head_dim; ++d) sum += (q[d] - zero_points_[kQ]) * (k[d] - zero_points_[kK]);
      scores[static_cast<size_t>(j)] = std::fma(static_cast<float>(sum), scale, mask_at(sequence.batch, head, row, j));
    }
    std::vector<int64_t> probabilities(scores.size());
    const int64_t total = soften(scores, probabilities);
    const float inverse = total == 0 ? 0.0F : 1.0F / static_cast<float>(total);
    const int64_t at = ((sequence.batch * queries_ + sequence.first + row) * form_.heads + head) * form_.v_head_dim;
    for (int64_t c = 0; c < form_.v_head_dim; ++c) {
      const int64_t column = kv_head * form_.v_head_dim + c;
      int64_t sum = 0;
      for (int64_t j = 0; j < visible; ++j)
        sum += probabilities[static_cast<size_t>(j)] * (*row_of(kV, sequence, j, column) - zero_points_[kV]);
      store(at + c, static_cast<float>(sum) * context_.input(kVScale).data<float>()[column] * inverse);
    }
  }

 private:
  const uint8_t* row_of(size_t input, const Sequence& sequence, int64_t row, int64_t column) const {
    const Shape& shape = context_.shape(input);
    return context_.input(input).data<uint8_t>() + (sequence.batch * shape[1] + sequence.first + row) * shape[2] +
           offsets_[input] + column;
  }
  float mask_at(int64_t batch, int64_t head, int64_t row, int64_t key) const {
    if (!context_.has(kMask)) return 0;
    return context_.input(kMask).data<float>()[batch * mask_strides_[0] + head * mask_strides_[1] +
                                               row * mask_strides_[2] + key * mask_strides_[3]];
  }
  void store(int64_t at, float y) {
    if (y_.dtype() == DType::kFloat32) {
      y_.data<float>()[at] = y;
      return;
    }
    const float scale = context_.attributes.get_float("y_scale", 1);
    const int64_t zero_point = context_.attributes.get_int("y_zero_point", 0);
    y_.data<uint8_t>()[at] = static_cast<uint8_t>(quantize(y / scale, zero_point, integer_range(DType::kUInt8)));
  }

  EvalContext& context_;
  Tensor y_;
  Form form_;
  int64_t queries_, keys_;
  float scale_ = 1;
  int64_t zero_points_[3] = {}, offsets_[3] = {};
  ElementStrides mask_strides_;
};

Status evaluate(EvalContext& context) {
  const int64_t batch = context.shape(kQ)[0];
  const int64_t heads = context.attributes.get_int("heads", 0);
  Evaluation evaluation(context);
  // What no sequence has is zero.
  if (context.has(kStarts)) evaluation.clear();
  for (int64_t b = 0; b < batch; ++b) {
    const Sequence sequence = HUSSAR_TRY(evaluation.sequence_of(b));
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < sequence.queries; ++i) evaluation.attend(sequence, h, i);
    }
  }
  evaluation.finish();
  return {};
}

double flops(const Node& node) {
  auto q = node.input(kQ) != nullptr ? node.input(kQ)->static_shape() : std::nullopt;
  auto v = node.input(kV) != nullptr ? node.input(kV)->static_shape() : std::nullopt;
  if (!q || !v) return 0;
  const Form form = form_of(node.attributes);
  return 2.0 * static_cast<double>((*q)[0] * (*q)[1] * (*v)[1]) *
         static_cast<double>(form.heads * (form.head_dim + form.v_head_dim));
}

}  // namespace

extern const OpDef hussar_quantized_attention_op = {.name = "hussar.QuantizedAttention",
                                                    .min_inputs = 6,
                                                    .max_inputs = 8,
                                                    .infer = infer,
                                                    .evaluate = evaluate,
                                                    .flops = flops};

}  // namespace hussar
