// ONNX's own Attention as hussar.Attention. Boolean masks and valid key lengths become masks that are added, caches of
// keys and values become concatenations.
#include <cmath>
#include <limits>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Inputs of the node.
enum Input : size_t { kQuery, kKey, kValue, kMask, kPastKey, kPastValue, kLengths };

struct Form {
  bool head_major;  // [B][heads][length][size], else [B][length][heads * size]
  int64_t heads, kv_heads, head_dim, v_head_dim;
  Dim queries, new_keys, keys;  // keys: with those of the cache
};

std::optional<Form> form_of(const Node& node) {
  const Value* q = node.input(kQuery);
  if (q->rank() < 3 || node.input(kKey)->rank() != q->rank() || node.input(kValue)->rank() != q->rank()) {
    return std::nullopt;
  }
  Form form{};
  form.head_major = q->rank() == 4;
  const int last = q->rank() - 1;
  form.heads = form.head_major ? static_dim(q, 1) : node.attributes.get_int("q_num_heads", 0);
  form.kv_heads = form.head_major ? static_dim(node.input(kKey), 1) : node.attributes.get_int("kv_num_heads", 0);
  if (form.heads < 1 || form.kv_heads < 1 || form.heads % form.kv_heads != 0) return std::nullopt;
  form.head_dim = static_dim(q, last) / (form.head_major ? 1 : form.heads);
  form.v_head_dim = static_dim(node.input(kValue), last) / (form.head_major ? 1 : form.kv_heads);
  if (form.head_dim < 1 || form.v_head_dim < 1) return std::nullopt;
  const auto length = static_cast<size_t>(last - 1);
  form.queries = (*q->dims)[length];
  form.new_keys = form.keys = (*node.input(kKey)->dims)[length];
  if (const Value* past = node.input(kPastKey); past != nullptr) {
    if (past->rank() != 4) return std::nullopt;
    form.keys = form.keys + (*past->dims)[2];
  }
  return form;
}

bool is_supported(const Node& node, const Form& form) {
  for (size_t i : {size_t{kQuery}, size_t{kKey}, size_t{kValue}, size_t{kPastKey}, size_t{kPastValue}}) {
    if (node.input(i) != nullptr && node.input(i)->dtype != DType::kFloat32) return false;
  }
  if ((node.input(kPastKey) == nullptr) != (node.input(kPastValue) == nullptr)) return false;
  if (node.output(3) != nullptr) return false;
  // ONNX counts both queries and new keys from the end of the cache.
  const bool causal = node.attributes.get_int("is_causal", 0) != 0;
  if (causal && !(form.queries == form.new_keys)) return false;
  const Value* mask = node.input(kMask);
  if (mask != nullptr) {
    const bool has_type = mask->dtype == DType::kFloat32 || mask->dtype == DType::kBool;
    if (!has_type || mask->rank() < 1 || mask->rank() > 4) return false;
    // A shorter mask hides the keys behind it.
    if (!mask->dims->back().is(1) && !(mask->dims->back() == form.keys)) return false;
  }
  if (node.input(kLengths) != nullptr && (!form.keys.is_constant() || node.input(kLengths)->rank() != 1)) return false;
  // ONNX caps masked scores too, so that they do not vanish.
  const bool hides = mask != nullptr || causal || node.input(kLengths) != nullptr;
  return node.attributes.get_float("softcap", 0) == 0 || !hides;
}

// 0 where `visible`, else -infinity.
Value* added_mask(Graph& graph, const std::string& name, Value* visible, const std::optional<Dims>& dims) {
  Value* zero = add_numbers(graph, name, DType::kFloat32, {}, {0});
  Value* hidden = add_numbers(graph, name, DType::kFloat32, {}, {-std::numeric_limits<double>::infinity()});
  return add_operation(graph, name, "Where", {visible, zero, hidden}, {}, DType::kFloat32, dims);
}

Value* mask_of(Graph& graph, const Node& node, const Form& form) {
  Value* mask = node.input(kMask);
  const std::string name = node.name + "/mask";
  if (mask != nullptr && mask->dtype == DType::kBool) mask = added_mask(graph, name, mask, mask->dims);
  Value* lengths = node.input(kLengths);
  if (lengths == nullptr) return mask;
  Ints positions(static_cast<size_t>(form.keys.value()));
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int64_t>(i);
  const Dim batch = (*lengths->dims)[0];
  lengths = add_operation(graph, name, "Reshape", {lengths, add_integers(graph, name, {-1, 1, 1, 1})}, {},
                          lengths->dtype, Dims{batch, 1, 1, 1});
  const Dims dims{batch, 1, 1, form.keys};
  Value* visible =
      add_operation(graph, name, "Less", {add_integers(graph, name, positions), lengths}, {}, DType::kBool, dims);
  Value* ends = added_mask(graph, name, visible, dims);
  return mask == nullptr ? ends : add_operation(graph, name, "Add", {mask, ends}, {}, DType::kFloat32);
}

// Keys or values as [B][heads][length][size], behind those of the cache if there is one. `present` is the output for
// that, or null.
Value* joined(Graph& graph, const Node& node, size_t input, size_t past_input, const Form& form, Value* present) {
  Value* value = node.input(input);
  Value* past = node.input(past_input);
  const std::string name = node.name + (input == kKey ? "/keys" : "/values");
  std::vector<Value*> parts;
  if (past != nullptr) parts.push_back(past);
  const Dim batch = (*value->dims)[0];
  const Dim size(input == kKey ? form.head_dim : form.v_head_dim), heads(form.kv_heads);
  if (!form.head_major) {
    Attributes order;
    order.set("perm", Ints{0, 2, 1, 3});
    value = add_operation(graph, name, "Reshape", {value, add_integers(graph, name, {0, 0, form.kv_heads, -1})}, {},
                          DType::kFloat32, Dims{batch, form.new_keys, heads, size});
    value = add_operation(graph, name, "Transpose", {value}, order, DType::kFloat32,
                          Dims{batch, heads, form.new_keys, size});
  }
  parts.push_back(value);
  Attributes axis;
  axis.set("axis", int64_t{2});
  Value* result = present;
  if (result == nullptr) result = graph.add_value(graph.unique_name(name), DType::kFloat32);
  result->dims = Dims{batch, heads, form.keys, size};
  graph.add_node(past != nullptr ? "Concat" : "Identity", name, parts, {result}, past != nullptr ? axis : Attributes{});
  return result;
}

bool lower(Graph& graph, Node* node) {
  std::optional<Form> form = form_of(*node);
  if (!form || !is_supported(*node, *form)) return false;
  Value* mask = mask_of(graph, *node, *form);
  Value* operands[] = {node->input(kQuery), node->input(kKey), node->input(kValue)};
  Value* present[] = {nullptr, node->output(1), node->output(2)};
  const bool has_past = node->input(kPastKey) != nullptr;
  node->outputs.resize(1);
  int64_t head_major = form->head_major ? 15 : 0;
  for (size_t i : {size_t{kKey}, size_t{kValue}}) {
    if (!has_past && present[i] == nullptr) continue;
    operands[i] = joined(graph, *node, i, i == kKey ? kPastKey : kPastValue, *form, present[i]);
    head_major |= int64_t{1} << i;
  }
  Attributes attributes;
  attributes.set("heads", form->heads);
  attributes.set("kv_heads", form->kv_heads);
  attributes.set("head_dim", form->head_dim);
  attributes.set("v_head_dim", form->v_head_dim);
  attributes.set("head_major", head_major);
  const Attributes& given = node->attributes;
  if (given.get_int("is_causal", 0) != 0) attributes.set("causal", int64_t{1});
  if (float cap = given.get_float("softcap", 0); cap != 0) attributes.set("softcap", cap);
  float otherwise = 1.0F / std::sqrt(static_cast<float>(form->head_dim));
  attributes.set("scale", given.has("scale") ? given.get_float("scale", 0) : otherwise);
  std::vector<Value*> inputs(operands, operands + 3);
  if (mask != nullptr) inputs.push_back(mask);
  replace_node(graph, node, "hussar.Attention", inputs, attributes);
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return node->op == "Attention" && lower(context.graph, node); });
}

}  // namespace

extern const Pass lower_attention_pass = {
    .name = "lower_attention",
    .summary = "Attention(q, k, v, mask, past_k, past_v) => hussar.Attention(q, Concat(past_k, k), ...)",
    .run = run};

}  // namespace hussar
