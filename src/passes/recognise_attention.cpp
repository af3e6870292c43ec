// Multi-head attention from the operators that exporters write it with:
//   Softmax(MatMul(q, k^T) * scale + mask) -> MatMul with v  =>  hussar.Attention
// where q, k and v are [batch][heads][length][size]. Their reshapes and transposes from [batch][length][width] become
// attributes, and those of the output too. Covers the exporters of PyTorch (scaled_dot_product_attention and written
// out) and fused q-k-v projections.

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

// The source of a [batch][heads][length][size] operand.
Operand source_of(Value* value, double& scale) {
  value = strip_scale(value, scale);
  Operand operand{value};
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
Operand source_of_transposed(Value* value, double& scale) {
  value = strip_scale(value, scale);
  Node* transpose = produced_by(value, "Transpose");
  if (has_order(transpose, {0, 1, 3, 2})) return source_of(transpose->inputs[0], scale);
  if (has_order(transpose, {0, 2, 3, 1})) {
    Value* flat = flat_behind(transpose->inputs[0], scale);
    if (flat != nullptr) return {flat, false};
  }
  // torch.onnx's dynamo exporter exchanges the dimensions with batch and heads made one.
  Node* reshape = produced_by(value, "Reshape");
  Node* exchange = reshape == nullptr ? nullptr : produced_by(reshape->inputs[0], "Transpose");
  Node* merge = has_order(exchange, {0, 2, 1}) ? produced_by(exchange->inputs[0], "Reshape") : nullptr;
  if (merge != nullptr && merge->inputs[0]->rank() == 4 && merge->output()->rank() == 3) {
    const Dims& before = *merge->inputs[0]->dims;
    const Dims& merged = *merge->output()->dims;
    const Dims& after = *value->dims;
    if (before[2] == merged[1] && before[3] == merged[2] && before[0] == after[0] && before[1] == after[1] &&
        before[3] == after[2] && before[2] == after[3]) {
      return source_of(merge->inputs[0], scale);
    }
  }
  return {value, true, true};
}

// Something that is added to the scores, or the condition of a Where that hides some of them.
struct Mask {
  Value* value = nullptr;
  Node* where = nullptr;
  double hidden = 0;  // what hidden scores are
  bool hides_false = false;
};

struct Scores {
  Value* q = nullptr;
  Value* k_transposed = nullptr;
  std::vector<Mask> masks;
  double scale = 1;
};

std::optional<Mask> mask_of(Node* where) {
  bool hides_false = number_of(where->input(2)).has_value();
  auto hidden = number_of(where->input(hides_false ? 2 : 1));
  if (!hidden || *hidden > -1e4) return std::nullopt;
  return Mask{where->inputs[0], where, *hidden, hides_false};
}

// The mask as something that is added: 0 where it lets pass.
Value* additive(Graph& graph, const Mask& mask) {
  if (mask.where == nullptr) return mask.value;
  const std::string& name = mask.where->name;
  Value* zero = add_numbers(graph, name, DType::kFloat32, {}, {0});
  Value* low = add_numbers(graph, name, DType::kFloat32, {}, {mask.hidden});
  return add_operation(graph, name, "Where", {mask.value, mask.hides_false ? zero : low, mask.hides_false ? low : zero},
                       {}, DType::kFloat32, mask.value->dims);
}

// What the softmax reads, taken apart. Every intermediate value has one user.
std::optional<Scores> scores_of(const Graph& graph, Value* value) {
  Scores scores;
  while (true) {
    Node* node = only_user(graph, value) != nullptr ? value->producer : nullptr;
    if (node == nullptr || node->program || value->rank() != 4) return std::nullopt;
    if (node->op == "MatMul") {
      scores.q = node->inputs[0];
      scores.k_transposed = node->inputs[1];
      return scores;
    }
    double scale = 1;
    Value* inner = strip_scale(value, scale);
    if (inner != value) {
      scores.scale *= scale;
      value = inner;
      continue;
    }
    // Masks are not scaled: they must lie outside of the scale.
    if (scores.scale != 1) return std::nullopt;
    Value* next = nullptr;
    std::optional<Mask> mask;
    if (node->op == "Add") {
      for (size_t side = 0; side < 2 && next == nullptr; ++side) {
        Value* operand = node->inputs[side];
        bool is_path = operand->producer != nullptr && same_dims(operand, value) && only_user(graph, operand) == node;
        const std::string producer = is_path ? operand->producer->op : "";
        if (producer != "MatMul" && producer != "Mul" && producer != "Div" && producer != "Add" &&
            producer != "Where") {
          continue;
        }
        if (producer == "Where" && number_of(operand->producer->input(1)) && number_of(operand->producer->input(2)))
          continue;
        next = operand;
        mask = Mask{node->inputs[1 - side]};
      }
    } else if (node->op == "Where") {
      mask = mask_of(node);
      next = mask ? node->inputs[mask->hides_false ? 1 : 2] : nullptr;
      if (next == nullptr || !same_dims(next, value)) return std::nullopt;
    }
    if (next == nullptr || value->dtype != DType::kFloat32 || mask->value->rank() > 4) return std::nullopt;
    scores.masks.push_back(*mask);
    value = next;
  }
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

Attributes attributes_of(const Operand& q, const Operand& k, const Operand& v, int64_t heads, int64_t kv_heads,
                         int64_t head_dim, int64_t v_head_dim) {
  Attributes attributes;
  attributes.set("heads", heads);
  attributes.set("kv_heads", kv_heads);
  attributes.set("head_dim", head_dim);
  attributes.set("v_head_dim", v_head_dim);
  attributes.set("head_major",
                 (q.head_major ? kQ : 0) | (k.head_major && !k.transposed ? kK : 0) | (v.head_major ? kV : 0) | kOut);
  if (k.transposed) attributes.set("k_transposed", int64_t{1});
  if (q.offset != 0) attributes.set("q_offset", q.offset);
  if (k.offset != 0) attributes.set("k_offset", k.offset);
  if (v.offset != 0) attributes.set("v_offset", v.offset);
  return attributes;
}

// node = MatMul(probabilities, v).
bool recognise(Graph& graph, Node* node) {
  Value* probabilities = strip_guard(graph, node->inputs[0]);
  Node* softmax = produced_by(probabilities, "Softmax");
  if (softmax == nullptr || softmax->program || node->program || node->output()->dtype != DType::kFloat32) return false;
  // The guard reads the probabilities twice.
  size_t readers = probabilities == node->inputs[0] ? 1 : 2;
  if (graph.use_count(probabilities) != readers || node->inputs[1]->rank() != 4) return false;
  if (axis_of(*softmax, -1) != probabilities->rank() - 1) return false;
  auto scores = scores_of(graph, softmax->inputs[0]);
  if (!scores || scores->q->rank() != 4 || scores->k_transposed->rank() != 4) return false;
  Value* values = node->inputs[1];
  int64_t heads = static_dim(scores->q, 1), head_dim = static_dim(scores->q, 3);
  int64_t kv_heads = static_dim(values, 1), v_head_dim = static_dim(values, 3);
  bool fits = heads > 0 && head_dim > 0 && v_head_dim > 0 && static_dim(scores->k_transposed, 1) == kv_heads &&
              (kv_heads == heads || kv_heads == 1) && (*scores->q->dims)[0] == (*values->dims)[0] &&
              (*scores->k_transposed->dims)[0] == (*values->dims)[0];
  if (!fits) return false;
  Operand q = source_of(scores->q, scores->scale);
  Operand k = source_of_transposed(scores->k_transposed, scores->scale);
  double value_scale = 1;
  Operand v = source_of(values, value_scale);
  if (value_scale != 1) v = Operand{values};
  Attributes attributes = attributes_of(q, k, v, heads, kv_heads, head_dim, v_head_dim);
  attributes.set("scale", static_cast<float>(scores->scale));
  std::vector<Value*> inputs = {q.value, k.value, v.value};
  Value* mask = nullptr;
  for (const Mask& next : scores->masks) {
    if (next.where == nullptr && is_causal_mask(next.value)) {
      attributes.set("causal", int64_t{1});
      continue;
    }
    Value* added = additive(graph, next);
    mask = mask == nullptr ? added : add_operation(graph, node->name, "Add", {mask, added}, {}, mask->dtype);
  }
  if (mask != nullptr) inputs.push_back(mask);
  replace_node(graph, node, "hussar.Attention", inputs, attributes);
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
