// Pad with zeros before a convolution or pooling becomes its own padding.
#include <limits>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

struct Padding {
  double value = 0;
  Ints begin, end;  // per spatial axis
};

// nullopt unless the node pads spatial axes (2 and up) by constant amounts >= 0 with one constant.
std::optional<Padding> padding_of(const Node& pad) {
  int rank = pad.inputs[0]->rank();
  auto amounts = integers_of(pad.input(1));
  if (pad.attributes.get_string("mode", "constant") != "constant" || rank < 3 || !amounts) return std::nullopt;
  Padding padding;
  if (pad.input(2) != nullptr) {
    auto number = number_of(pad.input(2));
    if (!number) return std::nullopt;
    padding.value = *number;
  }
  Ints axes;
  for (int axis = 0; axis < rank; ++axis) axes.push_back(axis);
  if (pad.input(3) != nullptr) {
    auto given = integers_of(pad.input(3));
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (amounts->size() != 2 * axes.size()) return std::nullopt;
  padding.begin.assign(static_cast<size_t>(rank - 2), 0);
  padding.end = padding.begin;
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t axis = axes[i] + (axes[i] < 0 ? rank : 0);
    int64_t before = (*amounts)[i], after = (*amounts)[i + axes.size()];
    if (before < 0 || after < 0 || (axis < 2 && (before != 0 || after != 0))) return std::nullopt;
    if (axis < 2) continue;
    padding.begin[static_cast<size_t>(axis - 2)] = before;
    padding.end[static_cast<size_t>(axis - 2)] = after;
  }
  return padding;
}

// Whether every element of the value is known to be >= 0.
bool is_never_negative(const Value* value) {
  const Node* node = value->producer;
  if (node == nullptr || node->program) return false;
  if (node->op == "Clip") return number_of(node->input(1)).value_or(-1) >= 0;
  return node->op == "Relu" || node->op == "Sigmoid" || node->op == "HardSigmoid" || node->op == "Softmax";
}

// MaxPool's own padding never wins, as if it were -infinity. Zeros do neither among elements >= 0, provided that every
// window has at least one element.
bool suits_max_pool(const Node& pool, const Value* x, const Padding& padding, const Ints& pads) {
  if (padding.value == -std::numeric_limits<double>::infinity()) return true;
  if (padding.value != 0 || !is_never_negative(x)) return false;
  Ints kernel = pool.attributes.get_ints("kernel_shape");
  for (size_t i = 0; i < padding.begin.size(); ++i) {
    if (i >= kernel.size() || pads[i] >= kernel[i] || pads[i + kernel.size()] >= kernel[i]) return false;
  }
  return true;
}

bool fold(Graph& graph, Node* node) {
  bool is_max_pool = node->op == "MaxPool", is_average = node->op == "AveragePool";
  if ((node->op != "Conv" && !is_max_pool && !is_average) || node->program) return false;
  Node* pad = produced_by(node->inputs[0], "Pad");
  if (pad == nullptr || node->output(1) != nullptr) return false;
  std::string auto_pad = node->attributes.get_string("auto_pad", "NOTSET");
  auto padding = padding_of(*pad);
  if (!padding || (auto_pad != "NOTSET" && auto_pad != "VALID")) return false;
  size_t spatial = padding->begin.size();
  Ints pads = node->attributes.get_ints("pads", Ints(2 * spatial, 0));
  if (auto_pad == "VALID") pads.assign(2 * spatial, 0);
  if (pads.size() != 2 * spatial) return false;
  bool had_pads = pads != Ints(2 * spatial, 0);
  for (size_t i = 0; i < spatial; ++i) {
    pads[i] += padding->begin[i];
    pads[i + spatial] += padding->end[i];
  }
  if (is_max_pool) {
    if (node->attributes.get_int("ceil_mode", 0) != 0 || node->attributes.has("dilations")) return false;
    if (!suits_max_pool(*node, pad->inputs[0], *padding, pads)) return false;
  } else if (padding->value != 0) {
    return false;
  }
  Attributes attributes = node->attributes;
  if (is_average) {
    // The zeros counted as elements; the pooling's own padding did so only with count_include_pad.
    if (node->attributes.get_int("ceil_mode", 0) != 0) return false;
    if (had_pads && node->attributes.get_int("count_include_pad", 0) == 0) return false;
    attributes.set("count_include_pad", int64_t{1});
  }
  attributes.erase("auto_pad");
  attributes.set("pads", pads);
  std::vector<Value*> inputs = node->inputs;
  inputs[0] = pad->inputs[0];
  replace_node(graph, node, node->op, inputs, attributes);
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return fold(context.graph, node); });
}

}  // namespace

extern const Pass fold_pad_pass = {
    .name = "fold_pad", .summary = "Conv(Pad(x, 1)) => Conv<pads=1>(x); poolings too", .run = run};

}  // namespace hussar
