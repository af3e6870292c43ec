// hussar.Attention: softmax(scale * q k^T + mask) v for every head. Passes form it from matrix products and Softmax.
//
// Inputs: q, k, v, and an optional float mask that is added to the scores and broadcasts to [B][heads][Q][K]. A query
// whose keys are all at -infinity gives zeros. Instead of the mask, starts (int32, [B + 1]) may be input 4: q, k and v
// then hold the tokens of all sequences one after the other (ops/hussar_token_order.cpp), those of sequence b in the
// rows from starts[b] to starts[b + 1] of all B * Q = B * K rows, and each sequence sees itself only. Rows outside of
// every sequence are zeros. No tensor has a head axis then, and k is not transposed. Attributes: heads; kv_heads
// (default heads; a divisor of it: consecutive query heads share one); head_dim; v_head_dim (default head_dim); scale
// (default 1/sqrt(head_dim)); causal=1: query i sees the keys up to i + K - Q; softcap c > 0: scaled scores s become c
// tanh(s / c), before the mask. head_major has one bit per tensor (1 q, 2 k, 4 v, 8 output). A tensor with its bit is
// [B][heads][length][dim], one without is [B][length][width], where head h begins at column <q|k|v>_offset + h * dim:
// so one tensor may hold q, k and v side by side. k_transposed=1: k is [B][kv_heads][head_dim][K]. With y_scale the
// output is bytes (ops/quantized_product.h).
#include "ops/arguments.h"
#include "ops/attention_mask.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"
#include "ops/quantized_product.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

enum Bit : int64_t { kQ = 1, kK = 2, kV = 4, kOut = 8 };
constexpr size_t kStarts = 4;

struct Form {
  int64_t heads, kv_heads, head_dim, v_head_dim, head_major;
  bool causal, k_transposed;
  double softcap;

  bool is_head_major(Bit bit) const { return (head_major & bit) != 0; }
};

Form form_of(const Attributes& attributes) {
  Form form{};
  form.heads = attributes.get_int("heads", 0);
  form.kv_heads = attributes.get_int("kv_heads", form.heads);
  form.head_dim = attributes.get_int("head_dim", 0);
  form.v_head_dim = attributes.get_int("v_head_dim", form.head_dim);
  form.head_major = attributes.get_int("head_major", 0);
  form.causal = attributes.get_int("causal", 0) != 0;
  form.softcap = attributes.get_float("softcap", 0);
  form.k_transposed = attributes.get_int("k_transposed", 0) != 0;
  return form;
}

// The rows that belong together: of a batch, or of all rows from the first on.
struct Sequence {
  int64_t batch = 0, first_row = 0, queries = 0, keys = 0;
};

// Where the rows of one head of an operand lie.
struct View {
  const float* data;
  int64_t batch_stride, head_stride, row_stride, column_stride;

  const float* at(const Sequence& sequence, int64_t head) const {
    return data + sequence.batch * batch_stride + sequence.first_row * row_stride + head * head_stride;
  }
};

View view_of(const Tensor& tensor, bool head_major, int64_t offset, int64_t dim, bool transposed = false) {
  const Shape& shape = tensor.shape();
  const auto* data = tensor.data<float>();
  if (transposed) return {data, shape.elements(1, 4), shape.elements(2, 4), 1, shape[3]};
  if (head_major) return {data, shape.elements(1, 4), shape.elements(2, 4), shape[3], 1};
  return {data + offset, shape[1] * shape[2], dim, shape[2], 1};
}

// Far above any model, and small enough that products of two fit.
constexpr int64_t kMostColumns = int64_t{1} << 30;

struct Lengths {
  Dim batch, length;
};

// The form of operand `input`, with `heads` heads of `dim` columns; nullopt when its rank is not known.
Result<std::optional<Lengths>> check_operand(const InferContext& context, const Form& form, size_t input,
                                             bool head_major, int64_t heads, int64_t dim) {
  constexpr const char* kOffsets[] = {"q_offset", "k_offset", "v_offset"};
  int64_t offset = context.attributes.get_int(kOffsets[input], 0);
  bool transposed = input == 1 && form.k_transposed;
  const Dims* dims = context.dims(input);
  const DType dtype = context.dtype(input);
  if (dtype != context.dtype(0) || (dtype != DType::kFloat32 && !is_half(dtype))) {
    return context.fail("input {} is {}", input, dtype_name(dtype));
  }
  if (offset < 0 || offset > kMostColumns || (offset > 0 && head_major))
    return context.fail("{} makes no sense", kOffsets[input]);
  if (dims == nullptr) return std::optional<Lengths>();
  if (dims->size() != (head_major ? 4U : 3U)) return context.fail("input {} has the rank {}", input, dims->size());
  const Dim& columns = (*dims)[!head_major ? 2 : transposed ? 2 : 3];
  bool fits = !columns.is_constant() || (head_major ? columns.is(dim) : columns.value() >= offset + heads * dim);
  fits = fits && (!head_major || !(*dims)[1].is_constant() || (*dims)[1].is(heads));
  if (!fits) return context.fail("input {} has the shape {}", input, to_string(*dims));
  return std::optional<Lengths>(Lengths{(*dims)[0], (*dims)[!head_major ? 1 : transposed ? 3 : 2]});
}

// The input that says where each sequence starts, if there is one.
Status check_starts(const InferContext& context, const Form& form, const Dim& batch, const Dim& queries,
                    const Dim& keys) {
  if (!context.has(kStarts)) return {};
  const bool is_plain = form.head_major == 0 && !form.k_transposed && !context.has(3);
  if (!is_plain) return context.fail("starts go with rows that have all heads, and without a mask");
  if (context.dtype(kStarts) != DType::kInt32) return context.fail("starts must be int32");
  HUSSAR_TRY(same_dim(context, queries, keys));
  const Dims* starts = context.dims(kStarts);
  if (starts == nullptr) return {};
  if (starts->size() != 1) return context.fail("starts of shape {}", to_string(*starts));
  HUSSAR_TRY(same_dim(context, (*starts)[0], batch + Dim(1)));
  return {};
}

Status infer(InferContext& context) {
  Form form = form_of(context.attributes);
  auto is_count = [](int64_t number) { return number > 0 && number <= kMostColumns; };
  bool ok = is_count(form.heads) && is_count(form.kv_heads) && form.heads % form.kv_heads == 0 &&
            is_count(form.head_dim) && is_count(form.v_head_dim) && form.head_major >= 0 && form.head_major < 16;
  if (!ok) return context.fail("heads, kv_heads, head_dim or head_major make no sense");
  auto q = HUSSAR_TRY(check_operand(context, form, 0, form.is_head_major(kQ), form.heads, form.head_dim));
  auto k = HUSSAR_TRY(
      check_operand(context, form, 1, form.is_head_major(kK) || form.k_transposed, form.kv_heads, form.head_dim));
  auto v = HUSSAR_TRY(check_operand(context, form, 2, form.is_head_major(kV), form.kv_heads, form.v_head_dim));
  Dim batch = q ? q->batch : context.fresh(), queries = q ? q->length : context.fresh(), keys = context.fresh();
  if (q && k) HUSSAR_TRY(same_dim(context, batch, k->batch));
  if (q && v) HUSSAR_TRY(same_dim(context, batch, v->batch));
  if (k && v) keys = HUSSAR_TRY(same_dim(context, k->length, v->length));
  HUSSAR_TRY(check_attention_mask(context, 3, {batch, Dim(form.heads), queries, keys}));
  HUSSAR_TRY(check_starts(context, form, batch, queries, keys));
  DType dtype = context.dtype(0);
  if (context.attributes.has("y_scale")) dtype = HUSSAR_TRY(check_byte_meanings(context));
  if (form.is_head_major(kOut)) {
    context.set(0, dtype, {batch, Dim(form.heads), queries, Dim(form.v_head_dim)});
  } else {
    context.set(0, dtype, {batch, queries, Dim(form.heads * form.v_head_dim)});
  }
  return {};
}

// One query row: its scores become probabilities, whose mean of the rows of v is the output.
void attend(const Form& form, const View& k, const View& v, const Sequence& sequence, int64_t kv_head,
            const float* query, double scale, const std::function<double(int64_t)>& mask, float* out) {
  const float* key = k.at(sequence, kv_head);
  const float* value = v.at(sequence, kv_head);
  const int64_t keys = sequence.keys;
  std::vector<double> scores(static_cast<size_t>(keys));
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < keys; ++j) {
    double dot = 0;
    for (int64_t d = 0; d < form.head_dim; ++d) {
      dot += static_cast<double>(query[d]) * static_cast<double>(key[j * k.row_stride + d * k.column_stride]);
    }
    double score = dot * scale;
    if (form.softcap > 0) score = form.softcap * std::tanh(score / form.softcap);
    scores[static_cast<size_t>(j)] = score + mask(j);
    largest = std::max(largest, scores[static_cast<size_t>(j)]);
  }
  auto is_hidden = [](double score) { return score == -std::numeric_limits<double>::infinity(); };
  if (std::all_of(scores.begin(), scores.end(), is_hidden)) {
    std::fill_n(out, form.v_head_dim, 0.0F);
    return;
  }
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (int64_t d = 0; d < form.v_head_dim; ++d) {
    double total = 0;
    for (int64_t j = 0; j < keys; ++j) {
      total += scores[static_cast<size_t>(j)] * static_cast<double>(value[j * v.row_stride + d]);
    }
    out[d] = static_cast<float>(total / sum);
  }
}

Result<Sequence> sequence_of(EvalContext& context, int64_t batch, int64_t batches, int64_t queries, int64_t keys) {
  if (!context.has(kStarts)) return Sequence{batch, 0, queries, keys};
  const auto* starts = context.input(kStarts).data<int32_t>();
  const int64_t first = starts[batch], last = starts[batch + 1];
  if (first < 0 || last < first || last > batches * queries)
    return context.fail("sequence {} cannot lie in the rows {} to {} of {}", batch, first, last, batches * queries);
  return Sequence{0, first, last - first, last - first};
}

Status evaluate(EvalContext& context) {
  const Attributes& attributes = context.attributes;
  Form form = form_of(attributes);
  View q = view_of(context.input(0), form.is_head_major(kQ), attributes.get_int("q_offset", 0), form.head_dim);
  View k = view_of(context.input(1), form.is_head_major(kK), attributes.get_int("k_offset", 0), form.head_dim,
                   form.k_transposed);
  View v = view_of(context.input(2), form.is_head_major(kV), attributes.get_int("v_offset", 0), form.v_head_dim);
  const bool writes_bytes = attributes.has("y_scale");
  Tensor output = writes_bytes ? Tensor(DType::kFloat32, context.output().shape()) : context.output();
  View y = view_of(output, form.is_head_major(kOut), 0, form.v_head_dim);
  int64_t batch = context.shape(0)[0], queries = context.shape(0)[form.is_head_major(kQ) ? 2 : 1];
  int64_t keys = context.shape(2)[form.is_head_major(kV) ? 2 : 1];
  double scale = attributes.get_float("scale", 1.0F / std::sqrt(static_cast<float>(form.head_dim)));
  ElementStrides mask_strides{0, 0, 0, 0};
  if (context.has(3)) mask_strides = broadcast_strides(context.shape(3), Shape{batch, form.heads, queries, keys});
  for (int64_t b = 0; b < batch; ++b) {
    const Sequence sequence = HUSSAR_TRY(sequence_of(context, b, batch, queries, keys));
    for (int64_t h = 0; h < form.heads; ++h) {
      for (int64_t i = 0; i < sequence.queries; ++i) {
        auto mask = [&](int64_t j) -> double {
          if (form.causal && j > i + sequence.keys - sequence.queries) return -std::numeric_limits<double>::infinity();
          if (!context.has(3)) return 0;
          return context.input(3)
              .data<float>()[b * mask_strides[0] + h * mask_strides[1] + i * mask_strides[2] + j * mask_strides[3]];
        };
        float* out = output.data<float>() + (y.at(sequence, h) - y.data) + i * y.row_stride;
        attend(form, k, v, sequence, h / (form.heads / form.kv_heads), q.at(sequence, h) + i * q.row_stride, scale,
               mask, out);
      }
    }
  }
  if (writes_bytes)
    store_bytes(attributes, {output.data<float>(), static_cast<size_t>(output.elements())}, context.output());
  return {};
}

double flops(const Node& node) {
  auto q = node.input(0) != nullptr ? node.input(0)->static_shape() : std::nullopt;
  auto v = node.input(2) != nullptr ? node.input(2)->static_shape() : std::nullopt;
  if (!q || !v) return 0;
  Form form = form_of(node.attributes);
  int64_t queries = (*q)[0] * (*q)[form.is_head_major(kQ) ? 2 : 1], keys = (*v)[form.is_head_major(kV) ? 2 : 1];
  return 2.0 * static_cast<double>(queries * keys) *
         static_cast<double>(form.heads * (form.head_dim + form.v_head_dim));
}

}  // namespace

extern const OpDef hussar_attention_op = {
    .name = "hussar.Attention", .min_inputs = 3, .max_inputs = 5, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
