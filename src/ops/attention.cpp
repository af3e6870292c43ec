// Attention (Vaswani et al. 2017): softmax(softcap(q k^T * scale + mask)) v per head, with a key/value cache and
// grouped heads. q: [B][Hq][S][D], k: [B][Hk][T][D], v: [B][Hk][T][E], or all of rank 3 as [B][length][heads * size].
// Inputs: q, k, v, mask, past_key, past_value, valid key lengths. Outputs: y, present_key, present_value, scores.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

Result<Dims> as_heads(const InferContext& context, size_t input, const char* attribute) {
  const Dims& dims = *context.dims(input);
  if (dims.size() == 4) return dims;
  int64_t heads = context.attributes.get_int(attribute, 0);
  if (heads < 1) return context.fail("{} is missing", attribute);
  if (dims[2].is_constant() && dims[2].value() % heads != 0)
    return context.fail("{} elements in {} heads", dims[2].value(), heads);
  return Dims{dims[0], Dim(heads), dims[1], floor_div(dims[2], Dim(heads))};
}

}  // namespace

static Status infer(InferContext& context) {
  DType dtype = context.dtype(0);
  for (size_t i : {0, 1, 2}) {
    if (context.rank(i) >= 0 && context.rank(i) != 3 && context.rank(i) != 4)
      return context.fail("input {} must have rank 3 or 4", i);
  }
  if (context.dims(0) == nullptr || context.dims(1) == nullptr || context.dims(2) == nullptr) {
    for (size_t i = 0; i < context.output_count(); ++i) context.set_unknown(i, i == 2 ? context.dtype(2) : dtype);
    return {};
  }
  if (context.rank(0) != context.rank(1) || context.rank(0) != context.rank(2))
    return context.fail("q, k and v have different ranks");
  Dims q = HUSSAR_TRY(as_heads(context, 0, "q_num_heads"));
  Dims k = HUSSAR_TRY(as_heads(context, 1, "kv_num_heads"));
  Dims v = HUSSAR_TRY(as_heads(context, 2, "kv_num_heads"));
  if (q[1].is_constant() && k[1].is_constant() && (k[1].is(0) || q[1].value() % k[1].value() != 0)) {
    return context.fail("{} query heads for {} key heads", q[1].value(), k[1].value());
  }
  Dim total = k[2];
  if (context.has(4)) {
    if (context.rank(4) >= 0 && context.rank(4) != 4) return context.fail("past_key must have rank 4");
    total = context.rank(4) == 4 ? total + (*context.dims(4))[2] : context.fresh();
  }
  context.set(3, dtype, {q[0], q[1], q[2], total});
  context.set(2, context.dtype(2), {v[0], v[1], total, v[3]});
  context.set(1, context.dtype(1), {k[0], k[1], total, k[3]});
  if (context.rank(0) == 4)
    context.set(0, dtype, {q[0], q[1], q[2], v[3]});
  else
    context.set(0, dtype, {q[0], q[2], q[1] * v[3]});
  return {};
}

namespace {

// One operand as [B][heads][length][size].
struct Operand {
  int64_t batch = 0, heads = 0, length = 0, size = 0;
  std::vector<double> values;
  const double* row(int64_t b, int64_t h, int64_t s) const {
    return values.data() + ((b * heads + h) * length + s) * size;
  }
};

Operand load(const EvalContext& context, size_t input, int64_t heads) {
  const Shape& shape = context.shape(input);
  auto elements = context.read<double>(input);
  Operand operand;
  operand.values.assign(elements.begin(), elements.end());
  if (shape.rank() == 4) {
    operand.batch = shape[0], operand.heads = shape[1], operand.length = shape[2], operand.size = shape[3];
    return operand;
  }
  operand.batch = shape[0], operand.heads = heads, operand.length = shape[1], operand.size = shape[2] / heads;
  double* out = operand.values.data();
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t s = 0; s < shape[1]; ++s) {
        const double* in = elements.data() + ((b * shape[1] + s) * heads + h) * operand.size;
        out = std::copy_n(in, operand.size, out);
      }
    }
  }
  return operand;
}

// Puts the cached rows before the new ones, and gives the result as an output when it is wanted.
Status join_past(EvalContext& context, size_t past, size_t present, Operand& operand) {
  if (context.has(past)) {
    const Shape& shape = context.shape(past);
    bool fits = shape.rank() == 4 && shape[0] == operand.batch && shape[1] == operand.heads && shape[3] == operand.size;
    if (!fits) return context.fail("input {} of shape {} does not fit the new keys or values", past, shape.to_string());
    auto cached = context.read<double>(past);
    Operand joined = operand;
    joined.length += shape[2];
    joined.values.clear();
    for (int64_t i = 0; i < operand.batch * operand.heads; ++i) {
      const double* old_rows = cached.data() + i * shape[2] * operand.size;
      const double* new_rows = operand.values.data() + i * operand.length * operand.size;
      joined.values.insert(joined.values.end(), old_rows, old_rows + shape[2] * operand.size);
      joined.values.insert(joined.values.end(), new_rows, new_rows + operand.length * operand.size);
    }
    operand = std::move(joined);
  }
  if (context.wants(present)) {
    if (context.output(present).elements() != static_cast<int64_t>(operand.values.size())) {
      return context.fail("keys and values have different lengths");
    }
    store_elements<double>(context.output(present), 0, context.output(present).elements(), operand.values.data());
  }
  return {};
}

// What is added to the scores: the mask input, causality, and the valid key lengths.
struct Mask {
  Shape shape;  // of the mask input; rank 0 and no values: none
  std::vector<double> values;
  ElementStrides strides;  // to [B][Hq][S][T]
  int64_t keys = 0;        // beyond the mask's own length everything is masked
  bool causal = false;
  int64_t past = 0;
  Ints valid;

  double at(int64_t b, int64_t h, int64_t s, int64_t t) const {
    constexpr double kMasked = -std::numeric_limits<double>::infinity();
    if (causal && t > past + s) return kMasked;
    if (!valid.empty() && t >= valid[b]) return kMasked;
    if (values.empty()) return 0;
    if (t >= keys) return kMasked;
    return values[b * strides[0] + h * strides[1] + s * strides[2] + t * strides[3]];
  }
};

Result<Mask> read_mask(const EvalContext& context, const Operand& q, const Operand& k, int64_t past) {
  Mask mask;
  mask.causal = context.attributes.get_int("is_causal", 0) != 0;
  mask.past = past;
  if (context.has(6)) {
    mask.valid = context.integers(6);
    if (static_cast<int64_t>(mask.valid.size()) != q.batch)
      return context.fail("{} key lengths for a batch of {}", mask.valid.size(), q.batch);
  }
  if (!context.has(3)) return mask;
  const Shape& shape = context.shape(3);
  if (shape.rank() < 1 || shape.rank() > 4) return context.fail("a mask of rank {}", shape.rank());
  auto elements = context.read<double>(3);
  mask.values.assign(elements.begin(), elements.end());
  if (context.input(3).dtype() == DType::kBool) {
    for (double& value : mask.values) value = value != 0 ? 0 : -std::numeric_limits<double>::infinity();
  }
  mask.keys = shape[shape.rank() - 1] == 1 ? k.length : shape[shape.rank() - 1];
  Shape target{q.batch, q.heads, q.length, mask.keys};
  bool fits = mask.keys <= k.length;
  for (int i = 1; i <= shape.rank(); ++i) {
    int64_t size = shape[shape.rank() - i];
    fits = fits && (size == 1 || size == target[4 - i]);
  }
  if (!fits)
    return context.fail("a mask of shape {} for scores of {}x{}x{}x{}", shape.to_string(), q.batch, q.heads, q.length,
                        k.length);
  mask.strides = broadcast_strides(shape, target);
  return mask;
}

struct Scores {
  double scale, softcap;
  int64_t mode;  // which stage is output 3
  std::vector<double> copies;
};

// The attention weights of one query row; a row that is masked out entirely attends to nothing.
void score_row(const Operand& q, const Operand& k, const Mask& mask, int64_t b, int64_t h, int64_t s, Scores& scores,
               std::vector<double>& row) {
  const double* query = q.row(b, h, s);
  std::vector<double> stage;
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t t = 0; t < k.length; ++t) {
    const double* key = k.row(b, h / (q.heads / k.heads), t);
    double score = 0;
    for (int64_t d = 0; d < q.size; ++d) score += query[d] * key[d];
    score *= scores.scale;
    if (scores.mode == 0) stage.push_back(score);
    score += mask.at(b, h, s, t);
    if (scores.mode == 1) stage.push_back(score);
    if (scores.softcap > 0) score = scores.softcap * std::tanh(score / scores.softcap);
    if (scores.mode == 2) stage.push_back(score);
    row[t] = score;
    largest = std::max(largest, score);
  }
  bool all_masked = largest == -std::numeric_limits<double>::infinity();
  for (double& value : row) sum += value = all_masked ? 0 : std::exp(value - largest);
  for (double& value : row) value = all_masked ? 0 : value / sum;
  if (scores.mode == 3) stage = row;
  scores.copies.insert(scores.copies.end(), stage.begin(), stage.end());
}

}  // namespace

static Status evaluate(EvalContext& context) {
  const Attributes& attributes = context.attributes;
  Operand q = load(context, 0, attributes.get_int("q_num_heads", 1));
  Operand k = load(context, 1, attributes.get_int("kv_num_heads", 1));
  Operand v = load(context, 2, attributes.get_int("kv_num_heads", 1));
  if (context.has(4) != context.has(5)) return context.fail("past_key and past_value belong together");
  int64_t past = k.length;
  HUSSAR_TRY(join_past(context, 4, 1, k));
  HUSSAR_TRY(join_past(context, 5, 2, v));
  past = k.length - past;
  bool fits =
      q.size == k.size && q.batch == k.batch && k.batch == v.batch && k.heads == v.heads && k.length == v.length;
  if (!fits || k.heads == 0) return context.fail("q, k and v do not fit together");
  Mask mask = HUSSAR_TRY(read_mask(context, q, k, past));
  Scores scores;
  scores.scale = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(q.size, 1)));
  if (attributes.has("scale")) scores.scale = attributes.get_float("scale", 1);
  scores.softcap = attributes.get_float("softcap", 0);
  scores.mode = context.wants(3) ? attributes.get_int("qk_matmul_output_mode", 0) : -1;
  bool flat = context.shape(0).rank() == 3;
  std::vector<double> row(static_cast<size_t>(k.length));
  std::vector<double> y(static_cast<size_t>(q.batch * q.heads * q.length * v.size), 0);
  for (int64_t b = 0; b < q.batch; ++b) {
    for (int64_t h = 0; h < q.heads; ++h) {
      for (int64_t s = 0; s < q.length; ++s) {
        score_row(q, k, mask, b, h, s, scores, row);
        double* out = y.data() + (flat ? (b * q.length + s) * q.heads + h : (b * q.heads + h) * q.length + s) * v.size;
        for (int64_t t = 0; t < k.length; ++t) {
          const double* value = v.row(b, h / (q.heads / k.heads), t);
          // A weight of 0 keeps unused (possibly non-finite) cache rows out of the sum.
          for (int64_t e = 0; row[t] != 0 && e < v.size; ++e) out[e] += row[t] * value[e];
        }
      }
    }
  }
  store_elements<double>(context.output(), 0, context.output().elements(), y.data());
  if (context.wants(3)) {
    if (scores.mode < 0 || scores.mode > 3) return context.fail("qk_matmul_output_mode is {}", scores.mode);
    store_elements<double>(context.output(3), 0, context.output(3).elements(), scores.copies.data());
  }
  return {};
}

static double flops(const Node& node) {
  auto q = node.input(0) != nullptr ? node.input(0)->static_shape() : std::nullopt;
  auto k = node.input(1) != nullptr ? node.input(1)->static_shape() : std::nullopt;
  if (!q || !k || k->rank() < 3 || k->rank() != q->rank()) return 0;
  return 4.0 * static_cast<double>(q->elements()) * static_cast<double>((*k)[k->rank() - 2]);
}

extern const OpDef attention_op = {.name = "Attention",
                                   .min_inputs = 3,
                                   .max_inputs = 7,
                                   .max_outputs = 4,
                                   .infer = infer,
                                   .evaluate = evaluate,
                                   .flops = flops};

}  // namespace hussar
