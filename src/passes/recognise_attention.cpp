// Multi-head attention from the operators that exporters write it with:
//   Softmax(MatMul(q, k^T) * scale + mask) -> MatMul with v  =>  hussar.Attention
// where q, k and v are [batch][heads][length][size], or have batch and heads in one dimension. Their reshapes and
// transposes from [batch][length][width] become attributes, and those of the output too; repeated heads of k and v are
// read once. Covers the exporters of PyTorch (scaled_dot_product_attention and written out), products of rank 3
// (fairseq, BART, OPT), fused q-k-v projections, grouped queries and shifted windows (Swin).

#include <algorithm>

#include "ops/evaluate.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr int64_t kQ = 1, kK = 2, kV = 4, kOut = 8;  // bits of head_major

bool has_order(const Node* transpose, const Ints& order) {
  return transpose != nullptr && transpose->attributes.get_ints("perm") == order;
}

// Where an operand of [batch][heads][length][size] comes from.
struct Operand {
  Value* value = nullptr;
  bool head_major = true;
  bool transposed = false;  // [batch][heads][size][length]
  int64_t offset = 0;       // of head 0 in a row of [batch][length][width]
  int64_t repeats = 1;      // of each head of `value`, one after the other
};

// How the products are cut into batch and heads.
struct Grouping {
  Dim batch;
  int64_t heads = 0;
  bool fits(const Value* value) const { return (*value->dims)[0] == batch && (*value->dims)[1].is(heads); }
};

// Strips multiplications by scalars; their product goes to `scale`.
Value* strip_scale(Value* value, double& scale) {
  while (value->producer != nullptr && !value->producer->program) {
    Node* node = value->producer;
    if (node->op != "Mul" && node->op != "Div") break;
    auto right = scalar_beside(node->input(1), node->input(0));
    auto left = node->op == "Mul" ? scalar_beside(node->input(0), node->input(1)) : std::nullopt;
    if (!left && !right) break;
    double number = right ? *right : *left;
    scale *= node->op == "Mul" ? number : 1 / number;
    value = right ? node->inputs[0] : node->inputs[1];
  }
  return value;
}

// x when `value` is x[index] of the outermost dimension of x.
Value* selected(const Value* value, int64_t& index) {
  Node* node = value->producer;
  if (node == nullptr) return nullptr;
  if (node->op == "Gather") {
    auto number = number_of(node->input(1));
    if (!number || node->inputs[1]->rank() != 0 || axis_of(*node, 0) != 0) return nullptr;
    index = static_cast<int64_t>(*number);
    return index >= 0 ? node->inputs[0] : nullptr;
  }
  // Squeeze or Reshape of one slice.
  if (node->op != "Squeeze" && node->op != "Reshape") return nullptr;
  const Value* part = node->inputs[0];
  if (part->rank() != value->rank() + 1 || static_dim(part, 0) != 1) return nullptr;
  for (int axis = 0; axis < value->rank(); ++axis) {
    if (!((*part->dims)[static_cast<size_t>(axis) + 1] == (*value->dims)[static_cast<size_t>(axis)])) return nullptr;
  }
  if (Node* split = produced_by(part, "Split"); split != nullptr && axis_of(*split, 0) == 0) {
    for (size_t i = 0; i < split->outputs.size(); ++i) {
      if (static_dim(split->output(i), 0) != 1) return nullptr;
      if (split->output(i) == part) index = static_cast<int64_t>(i);
    }
    return split->inputs[0];
  }
  Node* slice = produced_by(part, "Slice");
  auto starts = slice == nullptr ? std::nullopt : integers_of(slice->input(1));
  auto axes = slice == nullptr ? std::nullopt : integers_of(slice->input(3));
  if (!starts || !axes || *axes != Ints{0} || starts->size() != 1 || (*starts)[0] < 0) return nullptr;
  index = (*starts)[0];
  return slice->inputs[0];
}

bool same_leading_dims(const Value* a, const Value* b) {
  return a->rank() >= 2 && b->rank() >= 2 && (*a->dims)[0] == (*b->dims)[0] && (*a->dims)[1] == (*b->dims)[1];
}

// [batch][length][width] behind a [batch][length][heads][size] that a Reshape made; null when there is none.
Value* unsplit_heads(const Value* value) {
  Node* reshape = produced_by(value, "Reshape");
  if (reshape == nullptr || reshape->program) return nullptr;
  Value* flat = reshape->inputs[0];
  int64_t width = static_dim(value, 2) * static_dim(value, 3);
  bool fits = flat->rank() == 3 && same_leading_dims(flat, value) && width > 0 && static_dim(flat, 2) == width;
  return fits ? flat : nullptr;
}

// The same behind multiplications by scalars, whose product goes to `scale` if there is one.
Value* flat_behind(Value* value, double& scale) {
  double product = scale;
  Value* flat = unsplit_heads(strip_scale(value, product));
  if (flat != nullptr) scale = product;
  return flat;
}

// The dims as [batch][heads][length][size], with heads in one or two dimensions; nullopt for other ranks.
std::optional<Dims> join_groups(const Value* value) {
  if (value->rank() == 4) return value->dims;
  if (value->rank() != 5) return std::nullopt;
  const Dims& dims = *value->dims;
  return Dims{dims[0], dims[1] * dims[2], dims[3], dims[4]};
}

// x when the value is x with each head `repeats` times:
//   x[batch][heads][length][size] -> [batch][heads][1][length][size] -> [batch][heads][repeats][length][size]
Value* unrepeated(const Value* value, int64_t& repeats) {
  Node* repeat = value->rank() == 5 ? value->producer : nullptr;
  if (repeat == nullptr || (repeat->op != "Expand" && repeat->op != "Tile")) return nullptr;
  Node* split = repeat->inputs[0]->producer;
  if (split == nullptr || (split->op != "Unsqueeze" && split->op != "Reshape")) return nullptr;
  Value* x = split->inputs[0];
  repeats = static_dim(value, 2);
  if (x->rank() != 4 || repeat->inputs[0]->rank() != 5 || repeats < 1) return nullptr;
  Dims dims = *x->dims;
  dims.insert(dims.begin() + 2, Dim(1));
  if (!(dims == *repeat->inputs[0]->dims)) return nullptr;
  dims[2] = Dim(repeats);
  return dims == *value->dims ? x : nullptr;
}

// The source of a [batch][heads][length][size] operand.
Operand source_of(Value* value, bool sees_repeats, double& scale) {
  value = strip_scale(value, scale);
  Operand operand{value};
  if (Node* merge = produced_by(value, "Reshape"); sees_repeats && merge != nullptr) {
    int64_t repeats = 1;
    Value* once = join_groups(merge->inputs[0]) == value->dims ? unrepeated(merge->inputs[0], repeats) : nullptr;
    if (once != nullptr) {
      operand = source_of(once, false, scale);
      operand.repeats = repeats;
      return operand;
    }
  }
  if (Node* transpose = produced_by(value, "Transpose"); has_order(transpose, {0, 2, 1, 3})) {
    Value* flat = flat_behind(transpose->inputs[0], scale);
    return flat != nullptr ? Operand{flat, false} : operand;
  }
  // One of q, k, v of a fused projection: [batch][length][3][heads][size] -> [3][batch][heads][length][size].
  int64_t index = 0;
  const Value* stacked = selected(value, index);
  Node* transpose = stacked == nullptr ? nullptr : produced_by(stacked, "Transpose");
  if (!has_order(transpose, {2, 0, 3, 1, 4})) return operand;
  Node* reshape = produced_by(transpose->inputs[0], "Reshape");
  if (reshape == nullptr) return operand;
  Value* flat = reshape->inputs[0];
  const Value* split = transpose->inputs[0];
  int64_t width = static_dim(split, 3) * static_dim(split, 4);
  bool fits = flat->rank() == 3 && same_leading_dims(flat, split) && static_dim(split, 2) > index && width > 0 &&
              static_dim(flat, 2) == width * static_dim(split, 2);
  return fits ? Operand{flat, false, false, index * width} : operand;
}

// The source of the second factor of the scores, [batch][heads][size][length].
Operand source_of_transposed(Value* value, bool sees_repeats, double& scale) {
  value = strip_scale(value, scale);
  Node* transpose = produced_by(value, "Transpose");
  if (has_order(transpose, {0, 1, 3, 2})) return source_of(transpose->inputs[0], sees_repeats, scale);
  if (has_order(transpose, {0, 2, 3, 1})) {
    Value* flat = flat_behind(transpose->inputs[0], scale);
    if (flat != nullptr) return {flat, false};
  }
  // torch.onnx's dynamo exporter exchanges the dimensions with batch and heads made one.
  Node* reshape = produced_by(value, "Reshape");
  Node* exchange = reshape == nullptr ? nullptr : produced_by(reshape->inputs[0], "Transpose");
  Node* merge = has_order(exchange, {0, 2, 1}) ? produced_by(exchange->inputs[0], "Reshape") : nullptr;
  auto before = merge == nullptr ? std::nullopt : join_groups(merge->inputs[0]);
  if (before && merge->output()->rank() == 3) {
    const Dims& heads = *before;
    const Dims& merged = *merge->output()->dims;
    bool fits =
        heads[2] == merged[1] && heads[3] == merged[2] && Dims{heads[0], heads[1], heads[3], heads[2]} == *value->dims;
    if (fits && merge->inputs[0]->rank() == 4) return source_of(merge->inputs[0], sees_repeats, scale);
    int64_t repeats = 1;
    Value* once = fits && sees_repeats ? unrepeated(merge->inputs[0], repeats) : nullptr;
    if (once != nullptr) {
      Operand operand = source_of(once, false, scale);
      operand.repeats = repeats;
      return operand;
    }
  }
  return {value, true, true};
}

// Something that is added to the scores, or the condition of a Where that hides some of them.
struct Mask {
  Value* value = nullptr;
  Dims scores;  // those of the scores that it meets
  Node* where = nullptr;
  double hidden = 0;  // what hidden scores are
  bool hides_false = false;
};

struct Scores {
  Value* q = nullptr;
  Value* k_transposed = nullptr;
  std::vector<Mask> masks;
  double scale = 1;
  int steps = 0;  // taken to get there
};

std::optional<Mask> mask_of(Node* where, const Dims& scores) {
  bool hides_false = number_of(where->input(2)).has_value();
  auto hidden = number_of(where->input(hides_false ? 2 : 1));
  if (!hidden || *hidden > -1e4) return std::nullopt;
  return Mask{where->inputs[0], scores, where, *hidden, hides_false};
}

// Whether only dimensions before the last two are cut or joined.
bool keeps_matrices(const Node* reshape) {
  if (reshape == nullptr || reshape->op != "Reshape" || reshape->program) return false;
  const Value* from = reshape->inputs[0];
  const Value* to = reshape->output();
  if (from->rank() < 3 || to->rank() < 3) return false;
  const Dims& a = *from->dims;
  const Dims& b = *to->dims;
  return a[a.size() - 1] == b[b.size() - 1] && a[a.size() - 2] == b[b.size() - 2];
}

bool may_be_scores(const Node* node) {
  if (node == nullptr) return false;
  for (const char* name : {"MatMul", "Mul", "Div", "Add", "Where"}) {
    if (node->op == name) return true;
  }
  return keeps_matrices(node);
}

bool take_apart(const Graph& graph, Value* value, Scores& scores);

bool take_apart_sum(const Graph& graph, const Node* node, const Value* value, Scores& scores) {
  for (size_t side = 0; side < 2; ++side) {
    Value* operand = node->inputs[side];
    if (!same_dims(operand, value) || !may_be_scores(operand->producer)) continue;
    Scores attempt = scores;
    attempt.masks.push_back(Mask{node->inputs[1 - side], *value->dims});
    if (!take_apart(graph, operand, attempt)) continue;
    scores = std::move(attempt);
    return true;
  }
  return false;
}

// What the softmax reads, taken apart. Every intermediate value has one user.
bool take_apart(const Graph& graph, Value* value, Scores& scores) {
  constexpr int kMostSteps = 32;  // each is a call
  if (++scores.steps > kMostSteps) return false;
  Node* node = only_user(graph, value) != nullptr ? value->producer : nullptr;
  if (node == nullptr || node->program || value->rank() < 3 || value->dtype != DType::kFloat32) return false;
  if (node->op == "MatMul") {
    scores.q = node->inputs[0];
    scores.k_transposed = node->inputs[1];
    return true;
  }
  double scale = 1;
  if (Value* inner = strip_scale(value, scale); inner != value) {
    scores.scale *= scale;
    return take_apart(graph, inner, scores);
  }
  if (keeps_matrices(node)) return take_apart(graph, node->inputs[0], scores);
  // Masks are not scaled: they must lie outside of the scale.
  if (scores.scale != 1) return false;
  if (node->op == "Add") return take_apart_sum(graph, node, value, scores);
  auto mask = node->op == "Where" ? mask_of(node, *value->dims) : std::nullopt;
  Value* next = mask ? node->inputs[mask->hides_false ? 1 : 2] : nullptr;
  if (next == nullptr || !same_dims(next, value)) return false;
  scores.masks.push_back(*mask);
  return take_apart(graph, next, scores);
}

// What a Reshape to the dims has as its target; nullopt when integers cannot say it.
std::optional<Ints> target_of(const Dims& dims) {
  Ints target;
  bool has_rest = false;
  for (const Dim& dim : dims) {
    if (dim.is_constant() ? dim.value() < 1 : has_rest) return std::nullopt;
    has_rest = has_rest || !dim.is_constant();
    target.push_back(dim.is_constant() ? dim.value() : -1);
  }
  return target;
}

// A new operation, or its result where that is known already and small enough for a plan.
Value* add_folded(Graph& graph, const std::string& name, const char* op, const std::vector<Value*>& inputs,
                  const std::optional<Dims>& dims) {
  Value* value = add_operation(graph, name, op, inputs, {}, DType::kFloat32, dims);
  std::vector<Tensor> tensors;
  for (const Value* input : inputs) {
    if (!input->is_constant()) return value;
    tensors.push_back(*input->constant);
  }
  constexpr int64_t kMostElements = 1 << 22;
  auto results = evaluate_node(*value->producer, tensors);
  if (!results || !results->front().valid() || results->front().elements() > kMostElements) return value;
  return graph.add_constant(graph.unique_name(name), results->front());
}

// The dims of a mask for scores of [batch][heads][queries][keys]; nullopt when it is not one for those.
std::optional<Dims> dims_for(const Mask& mask, const Grouping& grouping) {
  if (!mask.value->dims || mask.value->dims->size() > mask.scores.size()) return std::nullopt;
  const Dims& own = *mask.value->dims;
  const Dims& scores = mask.scores;
  const size_t leading = scores.size() - 2;
  if (leading == 2 && scores[0] == grouping.batch && scores[1].is(grouping.heads)) return own;
  Dims dims(scores.size() - own.size(), Dim(1));
  dims.insert(dims.end(), own.begin(), own.end());
  const Dim rows = dims[leading], columns = dims[leading + 1];
  dims.resize(leading);
  auto is_one = [](const Dim& dim) { return dim.is(1); };
  if (std::all_of(dims.begin(), dims.end(), is_one)) return own.size() <= 4 ? own : Dims{1, 1, rows, columns};
  // Batch and heads in one dimension.
  if (leading == 1 && dims[0] == scores[0]) return Dims{grouping.batch, grouping.heads, rows, columns};
  // Windows of pictures are a dimension between batch and heads. A mask of the windows would have to be copied for
  // every picture: it fits one only.
  bool has_windows = leading == 3 && scores[2].is(grouping.heads) && scores[0] * scores[1] == grouping.batch;
  if (!has_windows || !(dims[0] == scores[0]) || !(dims[1] == scores[1])) return std::nullopt;
  return Dims{grouping.batch, dims[2], rows, columns};
}

// The mask as something that is added (0 where it lets pass), with the given dims.
Value* additive(Graph& graph, const Mask& mask, const Dims& dims) {
  Value* value = mask.value;
  const std::string name = value->name + "/mask";
  if (mask.where != nullptr) {
    Value* zero = add_numbers(graph, name, DType::kFloat32, {}, {0});
    Value* low = add_numbers(graph, name, DType::kFloat32, {}, {mask.hidden});
    value = add_folded(graph, name, "Where", {value, mask.hides_false ? zero : low, mask.hides_false ? low : zero},
                       value->dims);
  }
  if (*value->dims == dims) return value;
  return add_folded(graph, name, "Reshape", {value, add_integers(graph, name, *target_of(dims))}, dims);
}

// p for Where(IsNaN(p), 0, p): the guard of exporters against rows in which everything is masked. hussar.Attention
// gives zeros for those by itself.
Value* strip_guard(const Graph& graph, Value* value) {
  Node* where = produced_by(value, "Where");
  if (where == nullptr || only_user(graph, value) == nullptr || number_of(where->input(1)) != 0.0) return value;
  Node* test = produced_by(where->inputs[0], "IsNaN");
  return test != nullptr && test->inputs[0] == where->inputs[2] ? where->inputs[2] : value;
}

// A constant mask that hides exactly the later keys.
bool is_causal_mask(const Value* mask) {
  if (!mask->is_constant() || mask->rank() < 2 || mask->dtype != DType::kFloat32) return false;
  const Shape& shape = mask->constant->shape();
  int64_t length = shape[shape.rank() - 1];
  if (shape[shape.rank() - 2] != length || shape.elements() != length * length || length < 2) return false;
  const auto* data = mask->constant->data<float>();
  for (int64_t row = 0; row < length; ++row) {
    for (int64_t column = 0; column < length; ++column) {
      float element = data[row * length + column];
      if (column <= row ? element != 0.0F : element > -1e9F) return false;
    }
  }
  return true;
}

// [batch][heads]... that a Reshape joined to [batch * heads]...; null when there is none.
Value* unmerged(const Value* value) {
  if (value->rank() != 3 || !keeps_matrices(value->producer)) return nullptr;
  Value* apart = value->producer->inputs[0];
  return apart->rank() == 4 && static_dim(apart, 1) > 0 ? apart : nullptr;
}

// The grouping of the products; nullopt where they are not those of an attention.
std::optional<Grouping> grouping_of(const Scores& scores, const Value* values) {
  const Value* keys = scores.k_transposed;
  const int rank = scores.q->rank();
  if (rank < 3 || rank > 4 || keys->rank() != rank || values->rank() != rank) return std::nullopt;
  const Dim batch = (*scores.q->dims)[0];
  if (!(batch == (*keys->dims)[0]) || !(batch == (*values->dims)[0])) return std::nullopt;
  if (static_dim(scores.q, rank - 1) < 1 || static_dim(values, rank - 1) < 1) return std::nullopt;
  if (rank == 4) {
    int64_t heads = static_dim(scores.q, 1), kv_heads = static_dim(values, 1);
    bool fits = heads > 0 && static_dim(keys, 1) == kv_heads && (kv_heads == heads || kv_heads == 1);
    return fits ? std::optional(Grouping{batch, heads}) : std::nullopt;
  }
  for (const Mask& mask : scores.masks) {
    if (mask.scores.size() != 4) continue;
    if (!mask.scores[1].is_constant() || mask.scores[1].value() < 1) return std::nullopt;
    return Grouping{mask.scores[0], mask.scores[1].value()};
  }
  double ignored = 1;
  if (const Value* apart = unmerged(strip_scale(scores.q, ignored)))
    return Grouping{(*apart->dims)[0], static_dim(apart, 1)};
  return Grouping{batch, 1};
}

struct Operands {
  Operand q, k, v;
  double scale = 1;
};

Operand as_it_is(Value* value, const Grouping& grouping, bool transposed = false) {
  return {value, value->rank() == 4 || grouping.heads > 1 || transposed, transposed};
}

// The source of an operand of the products, which may have batch and heads in one dimension.
Operand part_of(Value* value, const Grouping& grouping, bool sees_repeats, double& scale) {
  if (value->rank() == 4) return source_of(value, sees_repeats, scale);
  value = strip_scale(value, scale);
  Value* apart = unmerged(value);
  bool fits = apart != nullptr && grouping.fits(apart);
  return fits ? source_of(apart, sees_repeats, scale) : as_it_is(value, grouping);
}

Operand transposed_part_of(Value* value, const Grouping& grouping, bool sees_repeats, double& scale) {
  if (value->rank() == 4) return source_of_transposed(value, sees_repeats, scale);
  value = strip_scale(value, scale);
  Node* transpose = produced_by(value, "Transpose");
  if (has_order(transpose, {0, 2, 1})) return part_of(transpose->inputs[0], grouping, sees_repeats, scale);
  Value* apart = unmerged(value);
  bool fits = apart != nullptr && grouping.fits(apart);
  return fits ? source_of_transposed(apart, sees_repeats, scale) : as_it_is(value, grouping, true);
}

Operands operands_of(const Scores& scores, Value* values, const Grouping& grouping, bool sees_repeats) {
  Operands result;
  result.scale = scores.scale;
  result.q = part_of(scores.q, grouping, false, result.scale);
  result.k = transposed_part_of(scores.k_transposed, grouping, sees_repeats, result.scale);
  double value_scale = 1;
  result.v = part_of(values, grouping, sees_repeats, value_scale);
  if (value_scale != 1) result.v = as_it_is(values, grouping);
  // Keys and values are read by the same rule.
  return result.k.repeats == result.v.repeats ? result : operands_of(scores, values, grouping, false);
}

Attributes attributes_of(const Operands& from, const Grouping& grouping, const Value* q, const Value* values) {
  Attributes attributes;
  const int rank = q->rank();
  const bool joined = rank == 3 && grouping.heads == 1;
  attributes.set("heads", grouping.heads);
  attributes.set("kv_heads", (rank == 4 ? static_dim(values, 1) : grouping.heads) / from.v.repeats);
  attributes.set("head_dim", static_dim(q, rank - 1));
  attributes.set("v_head_dim", static_dim(values, rank - 1));
  attributes.set("head_major", (from.q.head_major ? kQ : 0) | (from.k.head_major && !from.k.transposed ? kK : 0) |
                                   (from.v.head_major ? kV : 0) | (joined ? 0 : kOut));
  if (from.k.transposed) attributes.set("k_transposed", int64_t{1});
  if (from.q.offset != 0) attributes.set("q_offset", from.q.offset);
  if (from.k.offset != 0) attributes.set("k_offset", from.k.offset);
  if (from.v.offset != 0) attributes.set("v_offset", from.v.offset);
  attributes.set("scale", static_cast<float>(from.scale));
  return attributes;
}

// The dims of an operand that has to be cut into batch and heads; nullopt for the others.
std::optional<Dims> dims_apart(const Operand& operand, const Grouping& grouping) {
  if (operand.value->rank() != 3 || (!operand.head_major && !operand.transposed)) return std::nullopt;
  const Dims& dims = *operand.value->dims;
  return Dims{grouping.batch, grouping.heads, dims[1], dims[2]};
}

// Whether integers say every Reshape that the operands and masks need.
bool can_reshape(const Operands& from, const std::vector<Mask>& masks, const Grouping& grouping) {
  for (const Operand* operand : {&from.q, &from.k, &from.v}) {
    auto dims = dims_apart(*operand, grouping);
    if (dims && !target_of(*dims)) return false;
  }
  for (const Mask& mask : masks) {
    auto dims = dims_for(mask, grouping);
    if (!dims || (!(*dims == *mask.value->dims) && !target_of(*dims))) return false;
  }
  return true;
}

std::vector<Value*> make_inputs(Graph& graph, const std::string& name, const Operands& from,
                                const std::vector<Mask>& masks, const Grouping& grouping, Attributes& attributes) {
  std::vector<Value*> inputs;
  for (const Operand* operand : {&from.q, &from.k, &from.v}) {
    Value* value = operand->value;
    if (auto dims = dims_apart(*operand, grouping)) {
      value = add_operation(graph, name, "Reshape", {value, add_integers(graph, name, *target_of(*dims))}, {},
                            value->dtype, *dims);
    }
    inputs.push_back(value);
  }
  Value* sum = nullptr;
  for (const Mask& mask : masks) {
    Value* added = additive(graph, mask, *dims_for(mask, grouping));
    if (is_causal_mask(added))
      attributes.set("causal", int64_t{1});
    else
      sum = sum == nullptr ? added : add_folded(graph, name, "Add", {sum, added}, std::nullopt);
  }
  if (sum != nullptr) inputs.push_back(sum);
  return inputs;
}

// node = MatMul(probabilities, v).
bool recognise(Graph& graph, Node* node) {
  Value* probabilities = strip_guard(graph, node->inputs[0]);
  Node* softmax = produced_by(probabilities, "Softmax");
  if (softmax == nullptr || softmax->program || node->program || node->output()->dtype != DType::kFloat32) return false;
  // The guard reads the probabilities twice.
  size_t readers = probabilities == node->inputs[0] ? 1 : 2;
  if (graph.use_count(probabilities) != readers || axis_of(*softmax, -1) != probabilities->rank() - 1) return false;
  Scores scores;
  if (!take_apart(graph, softmax->inputs[0], scores)) return false;
  Value* values = node->inputs[1];
  auto grouping = grouping_of(scores, values);
  if (!grouping || probabilities->rank() != values->rank()) return false;
  Operands from = operands_of(scores, values, *grouping, true);
  if (!can_reshape(from, scores.masks, *grouping)) return false;
  // [batch * heads][length][size] is mostly cut into batch and heads right away.
  const bool joins = values->rank() == 3 && grouping->heads > 1;
  const Dims output = *node->output()->dims;
  Node* cut = joins ? only_user(graph, node->output()) : nullptr;
  if (!keeps_matrices(cut) || cut->output()->rank() != 4 || !grouping->fits(cut->output())) cut = nullptr;
  if (joins && cut == nullptr && !target_of(output)) return false;
  Attributes attributes = attributes_of(from, *grouping, scores.q, values);
  auto inputs = make_inputs(graph, node->name, from, scores.masks, *grouping, attributes);
  if (!joins || cut != nullptr) {
    replace_node(graph, cut != nullptr ? cut : node, "hussar.Attention", inputs, attributes);
    return true;
  }
  Value* apart = add_operation(graph, node->name, "hussar.Attention", inputs, attributes, DType::kFloat32,
                               Dims{grouping->batch, grouping->heads, output[1], output[2]});
  replace_node(graph, node, "Reshape", {apart, add_integers(graph, node->name + "/shape", *target_of(output))});
  return true;
}

// Transpose(attention, [0, 2, 1, 3]) to [batch][length][heads][size] is the row-major output, reshaped.
bool absorb_transpose(Graph& graph, Node* node) {
  Node* attention = has_order(node, {0, 2, 1, 3}) ? produced_by(node->inputs[0], "hussar.Attention") : nullptr;
  if (attention == nullptr || only_user(graph, attention->output()) != node || !node->output()->dims) return false;
  Attributes attributes = attention->attributes;
  int64_t head_major = attributes.get_int("head_major", 0);
  if ((head_major & kOut) == 0) return false;
  attributes.set("head_major", head_major & ~kOut);
  const Dims dims = *node->output()->dims;
  Value* flat = add_operation(graph, attention->name, attention->op, attention->inputs, attributes,
                              node->output()->dtype, Dims{dims[0], dims[1], dims[2] * dims[3]});
  Ints target = {0, 0, dims[2].value(), dims[3].value()};
  replace_node(graph, node, "Reshape", {flat, add_integers(graph, node->name + "/shape", target)});
  return true;
}

// Reshape back from [batch][length][heads][size] to [batch][length][width].
bool join_heads(Graph& graph, Node* node) {
  Node* split = produced_by(node->inputs[0], "Reshape");
  Value* flat = split == nullptr ? nullptr : split->inputs[0];
  bool fits = produced_by(flat, "hussar.Attention") != nullptr && same_dims(flat, node->output());
  return fits && bypass(graph, node, flat);
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op == "MatMul") return recognise(graph, node);
    if (node->op == "Transpose") return absorb_transpose(graph, node);
    return node->op == "Reshape" && join_heads(graph, node);
  });
}

}  // namespace

extern const Pass recognise_attention_pass = {
    .name = "recognise_attention",
    .summary = "MatMul(Softmax(MatMul(q, Transpose(k)) / 8 + mask), v) => hussar.Attention(q, k, v, mask)",
    .run = run};

}  // namespace hussar
