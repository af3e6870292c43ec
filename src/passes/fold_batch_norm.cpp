// Per-channel arithmetic behind a linear operator with constant weights moves into its weights and bias; what is left
// of BatchNormalization becomes Mul and Add.
//   Conv -> BatchNormalization -> Mul(2) -> Add(bias)  =>  Conv
#include <cmath>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

using Numbers = std::vector<double>;

// y = x * scale + shift along one axis; each list has one element for all channels or one per channel.
struct Affine {
  Numbers scale = {1}, shift = {0};
  double scale_at(size_t channel) const { return scale[scale.size() == 1 ? 0 : channel]; }
  double shift_at(size_t channel) const { return shift[shift.size() == 1 ? 0 : channel]; }
  bool scales() const { return !(scale.size() == 1 && scale[0] == 1); }
  bool shifts() const { return !(shift.size() == 1 && shift[0] == 0); }
  size_t channels() const { return std::max(scale.size(), shift.size()); }
};

std::optional<Affine> batch_norm(const Node& node) {
  if (node.attributes.get_int("training_mode", 0) != 0 || node.output(1) != nullptr) return std::nullopt;
  auto scale = numbers_of(node.input(1)), bias = numbers_of(node.input(2));
  auto mean = numbers_of(node.input(3)), variance = numbers_of(node.input(4));
  if (!scale || !bias || !mean || !variance || node.inputs[0]->rank() < 2) return std::nullopt;
  size_t channels = scale->size();
  if (bias->size() != channels || mean->size() != channels || variance->size() != channels) return std::nullopt;
  Affine affine{Numbers(channels), Numbers(channels)};
  double epsilon = node.attributes.get_float("epsilon", 1e-5F);
  for (size_t i = 0; i < channels; ++i) {
    affine.scale[i] = (*scale)[i] / std::sqrt((*variance)[i] + epsilon);
    affine.shift[i] = (*bias)[i] - (*mean)[i] * affine.scale[i];
  }
  return affine;
}

// The elements of a constant that varies along `axis` of a rank-`rank` tensor only.
std::optional<Numbers> along_axis(const Value* value, int axis, int rank) {
  auto numbers = numbers_of(value);
  if (!numbers || numbers->empty() || value->rank() > rank) return std::nullopt;
  const Shape& shape = value->constant->shape();
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != 1 && i + rank - shape.rank() != axis) return std::nullopt;
  }
  return numbers;
}

// What the node does to its operand `side`, as Affine.
std::optional<Affine> arithmetic(const Node& node, size_t side, int axis, int rank) {
  if (node.inputs.size() != 2) return std::nullopt;
  auto other = along_axis(node.input(1 - side), axis, rank);
  if (!other) return std::nullopt;
  Affine affine;
  if (node.op == "Mul")
    affine.scale = *other;
  else if (node.op == "Add")
    affine.shift = *other;
  else if (node.op == "Sub" && side == 0) {
    for (double& number : *other) number = -number;
    affine.shift = *other;
  } else if (node.op == "Sub") {
    affine = {{-1}, *other};
  } else if (node.op == "Div" && side == 0) {
    for (double& number : *other) number = 1 / number;
    affine.scale = *other;
  } else {
    return std::nullopt;
  }
  return affine;
}

// How a linear operator lays out its weights (input 1).
struct Linear {
  int weight_rank = 0;
  int rank = 0;  // of the output
  int axis = 0;  // of the output's channels
  size_t channels = 0;
  bool has_bias = true;  // an input for it
};

std::optional<Linear> linear(const Node& node) {
  const Value* weights = node.input(1);
  if (node.program || weights == nullptr || weights->rank() < 2 || node.outputs.size() != 1) return std::nullopt;
  Linear result;
  result.weight_rank = weights->rank();
  result.rank = result.weight_rank;
  result.axis = 1;
  int64_t channels = -1;
  if (node.op == "Conv")
    channels = static_dim(weights, 0);
  else if (node.op == "ConvTranspose")
    channels = static_dim(weights, 1) * node.attributes.get_int("group", 1);
  else if (node.op == "Gemm")
    channels = static_dim(weights, node.attributes.get_int("transB", 0) != 0 ? 0 : 1);
  else if (node.op == "MatMul") {
    channels = static_dim(weights, weights->rank() - 1);
    result.rank = node.output()->rank();
    result.axis = result.rank - 1;
    result.has_bias = false;
  }
  if (channels <= 0 || result.rank < 1) return std::nullopt;
  result.channels = static_cast<size_t>(channels);
  return result;
}

// The output channel that a weight belongs to.
size_t channel_of(const Node& node, const Shape& shape, int64_t index) {
  if (node.op == "MatMul") return static_cast<size_t>(index % shape[shape.rank() - 1]);
  if (node.op == "Gemm") {
    bool transposed = node.attributes.get_int("transB", 0) != 0;
    return static_cast<size_t>(transposed ? index / shape[1] : index % shape[1]);
  }
  int64_t block = shape.elements(1, shape.rank());
  if (node.op == "Conv") return static_cast<size_t>(index / block);
  int64_t groups = node.attributes.get_int("group", 1);
  int64_t group = index / block / (shape[0] / groups);
  return static_cast<size_t>(group * shape[1] + index % block / shape.elements(2, shape.rank()));
}

// The bias of a linear operator per channel, with Gemm's beta applied.
std::optional<Numbers> bias_of(const Node& node, const Linear& form) {
  if (node.input(2) == nullptr) return Numbers(form.channels, 0);
  auto bias = along_axis(node.input(2), node.op == "Gemm" ? 1 : 0, node.op == "Gemm" ? 2 : 1);
  if (!bias || (bias->size() != 1 && bias->size() != form.channels)) return std::nullopt;
  if (bias->size() == 1) bias->resize(form.channels, bias->front());
  if (node.op == "Gemm") {
    for (double& number : *bias) number *= node.attributes.get_float("beta", 1);
  }
  return bias;
}

// Puts the linear operator `host`, with `affine` folded into new constants, in the place of `node`.
bool fold_into(Graph& graph, Node* node, Node* host, const Linear& form, const Affine& affine) {
  if (affine.channels() != 1 && affine.channels() != form.channels) return false;
  if ((affine.scales() && !host->inputs[1]->is_constant()) || (!form.has_bias && affine.shifts())) return false;
  auto bias = form.has_bias ? bias_of(*host, form) : Numbers();
  if (!bias) return false;
  std::vector<Value*> inputs = host->inputs;
  Attributes attributes = host->attributes;
  if (affine.scales()) {
    const Tensor& old = *host->inputs[1]->constant;
    Numbers weights = *numbers_of(host->inputs[1]);
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] *= affine.scale_at(channel_of(*host, old.shape(), static_cast<int64_t>(i)));
    }
    inputs[1] = add_numbers(graph, host->inputs[1]->name, old.dtype(), old.shape(), weights);
  }
  if (form.has_bias && (host->input(2) != nullptr || affine.shifts())) {
    for (size_t c = 0; c < form.channels; ++c) (*bias)[c] = (*bias)[c] * affine.scale_at(c) + affine.shift_at(c);
    inputs.resize(3, nullptr);
    std::string name = host->input(2) != nullptr ? host->inputs[2]->name : host->name + "/bias";
    inputs[2] = add_numbers(graph, name, host->inputs[1]->dtype, {static_cast<int64_t>(form.channels)}, *bias);
    if (host->op == "Gemm") attributes.set("beta", 1.0F);
  }
  Node* folded = replace_node(graph, node, host->op, inputs, attributes);
  folded->name = host->name;
  return true;
}

// scale and shift shaped to broadcast along axis 1.
bool expand_batch_norm(Graph& graph, Node* node, const Affine& affine) {
  Value* x = node->inputs[0];
  Shape shape;
  for (int axis = 1; axis < x->rank(); ++axis) shape.push_back(axis == 1 ? static_cast<int64_t>(affine.channels()) : 1);
  Value* scale = add_numbers(graph, node->name + "/scale", x->dtype, shape, affine.scale);
  Value* shift = add_numbers(graph, node->name + "/shift", x->dtype, shape, affine.shift);
  Value* scaled = add_operation(graph, node->name, "Mul", {x, scale}, {}, x->dtype, x->dims);
  replace_node(graph, node, "Add", {scaled, shift});
  return true;
}

// MatMul -> BatchNormalization: the scale goes into the weights, the shift stays as an Add.
bool split_batch_norm(Graph& graph, Node* node, Node* host, const Linear& form, const Affine& affine) {
  Value* x = host->output();
  Value* scaled = graph.add_value(graph.unique_name(x->name), x->dtype, x->dims);
  Node* middle = graph.add_node("Mul", node->name, {x}, {scaled});
  Value* shift =
      add_numbers(graph, node->name + "/shift", x->dtype, {static_cast<int64_t>(form.channels)}, affine.shift);
  replace_node(graph, node, "Add", {scaled, shift});
  return fold_into(graph, middle, host, form, {affine.scale, {0}});
}

bool fold_batch_norm(Graph& graph, Node* node) {
  auto affine = batch_norm(*node);
  if (!affine) return false;
  Value* x = node->inputs[0];
  auto form = x->producer == nullptr ? std::nullopt : linear(*x->producer);
  if (!form || form->axis != 1 || only_user(graph, x) != node) return expand_batch_norm(graph, node, *affine);
  if (fold_into(graph, node, x->producer, *form, *affine)) return true;
  if (x->producer->op == "MatMul" && x->producer->inputs[1]->is_constant() && affine->channels() == form->channels) {
    return split_batch_norm(graph, node, x->producer, *form, *affine);
  }
  return expand_batch_norm(graph, node, *affine);
}

bool fold_arithmetic(Graph& graph, Node* node) {
  for (size_t side = 0; side < 2 && side < node->inputs.size(); ++side) {
    Value* x = node->input(side);
    if (x == nullptr || x->producer == nullptr || x->producer == node || only_user(graph, x) != node) continue;
    if (!is_floating(x->dtype)) continue;
    auto form = linear(*x->producer);
    auto affine = form ? arithmetic(*node, side, form->axis, form->rank) : std::nullopt;
    // A single channel would be broadcast to many.
    if (affine && affine->channels() != 1 && affine->channels() != form->channels) continue;
    if (affine && fold_into(graph, node, x->producer, *form, *affine)) return true;
  }
  return false;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->program) return false;
    if (node->op == "BatchNormalization") return fold_batch_norm(graph, node);
    bool is_arithmetic = node->op == "Mul" || node->op == "Div" || node->op == "Add" || node->op == "Sub";
    return is_arithmetic && fold_arithmetic(graph, node);
  });
}

}  // namespace

extern const Pass fold_batch_norm_pass = {
    .name = "fold_batch_norm",
    .summary = "BatchNormalization(Conv(x, w)) => Conv(x, w * scale, bias); Conv(x, w) * 2 => Conv(x, 2 * w)",
    .run = run};

}  // namespace hussar
