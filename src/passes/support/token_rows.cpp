// Walking from attention to whatever works on rows.
#include "passes/support/token_rows.h"

#include <algorithm>

#include "ops/op_def.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

using Inputs = std::vector<size_t>;

class Rows {
 public:
  Rows(const Dim& batch, const Dim& length) : batch_(batch), length_(length) {}

  int axes_of(const Value* value) const { return value == nullptr ? 0 : row_axes(value, batch_, length_); }

  Inputs inputs_of(const Node& node) const {
    if (node.program || !node.bodies.empty() || node.outputs.empty() || node.input(0) == nullptr) return {};
    const int axes = axes_of(node.output());
    for (const Value* output : node.outputs) {
      if (output != nullptr && (axes == 0 || axes_of(output) == 0)) return {};
    }
    if (axes == 0) return {};
    const OpDef* op = find_op(node.op);
    if (has_trait(op, kElementwise)) return of_elementwise(node, axes);
    if (has_trait(op, kView)) return axes_of(node.inputs[0]) > 0 ? Inputs{0} : Inputs();
    const bool keeps_axes = axes_of(node.inputs[0]) == axes;
    if (node.op == "Gather") return of_gather(node, axes);
    if (node.op == "Gemm") return of_gemm(node);
    if (node.op == "Concat") return of_concat(node, axes);
    if (!keeps_axes) return {};
    const bool fits = node.op == "MatMul"      ? node.inputs[1]->rank() == 2 && node.inputs[0]->rank() > axes
                      : node.op == "Transpose" ? keeps_order(node, axes)
                      : node.op == "Slice"     ? slices_behind(node, axes)
                      : is_quantizing(node)    ? has_scale_behind(node, axes)
                                               : works_behind(node, axes);
    return fits ? Inputs{0} : Inputs();
  }

 private:
  // Whether it is the same for all rows of what it is broadcast to.
  static bool is_shared(const Value* value, int rank, int axes) {
    for (int axis = 0; axis < axes; ++axis) {
      const int own = axis - (rank - value->rank());
      if (own >= 0 && !(*value->dims)[static_cast<size_t>(own)].is(1)) return false;
    }
    return true;
  }

  Inputs of_elementwise(const Node& node, int axes) const {
    Inputs list;
    const int rank = node.output()->rank();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value* input = node.inputs[i];
      if (input == nullptr) continue;
      if (!input->dims) return {};
      if (is_shared(input, rank, axes)) continue;
      if (input->rank() != rank || axes_of(input) != axes) return {};
      list.push_back(i);
    }
    return list;
  }

  // Rows of a table, or elements of each row.
  Inputs of_gather(const Node& node, int axes) const {
    const auto axis = axis_of(node, 0);
    if (!axis) return {};
    if (*axis == 0 && axes_of(node.inputs[1]) == axes && node.inputs[1]->rank() >= axes) return {1};
    return *axis >= axes && axes_of(node.inputs[0]) == axes ? Inputs{0} : Inputs();
  }

  Inputs of_gemm(const Node& node) const {
    if (node.attributes.get_int("transA", 0) != 0 || axes_of(node.inputs[0]) != 1) return {};
    const Value* added = node.input(2);
    if (added == nullptr) return {0};
    if (!added->dims) return {};
    if (is_shared(added, 2, 1)) return {0};
    return added->rank() == 2 && axes_of(added) == 1 ? Inputs{0, 2} : Inputs();
  }

  Inputs of_concat(const Node& node, int axes) const {
    Inputs list;
    const auto axis = axis_of(node, 0);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!axis || *axis < axes || axes_of(node.inputs[i]) != axes) return {};
      list.push_back(i);
    }
    return list;
  }

  static bool keeps_order(const Node& node, int axes) {
    const Ints order = node.attributes.get_ints("perm");
    if (order.size() < static_cast<size_t>(axes)) return false;
    for (int axis = 0; axis < axes; ++axis) {
      if (order[static_cast<size_t>(axis)] != axis) return false;
    }
    return true;
  }

  static bool slices_behind(const Node& node, int axes) {
    const auto list = integers_of(node.input(3));
    const int64_t rank = node.inputs[0]->rank();
    return list && std::all_of(list->begin(), list->end(),
                               [&](int64_t axis) { return (axis < 0 ? axis + rank : axis) >= axes; });
  }

  static bool is_quantizing(const Node& node) { return node.op == "QuantizeLinear" || node.op == "DequantizeLinear"; }
  static bool has_scale_behind(const Node& node, int axes) {
    const Value* scale = node.input(1);
    if (scale == nullptr || !scale->is_constant()) return false;
    const auto axis = axis_of(node, 1);
    return scale->constant->elements() == 1 || (scale->rank() == 1 && axis && *axis >= axes);
  }

  static bool works_behind(const Node& node, int axes) {
    const bool is_norm = node.op == "LayerNormalization" || node.op == "RMSNormalization";
    const bool is_known = is_norm || node.op == "Softmax" || node.op == "LogSoftmax" || node.op == "Split";
    const auto axis = axis_of(node, node.op == "Split" ? 0 : -1);
    return is_known && axis && *axis >= axes;
  }

  Dim batch_, length_;
};

}  // namespace

int row_axes(const Value* value, const Dim& batch, const Dim& length) {
  if (!value->dims) return 0;
  const Dims& dims = *value->dims;
  if (dims.size() >= 2 && dims[0] == batch && dims[1] == length) return 2;
  return !dims.empty() && dims[0] == batch * length ? 1 : 0;
}

TokenRegion find_token_region(const std::vector<Node*>& attentions, const std::set<const Node*>& fixed,
                              const Dim& batch, const Dim& length) {
  TokenRegion region;
  const std::set<const Node*> known(attentions.begin(), attentions.end());
  region.row_inputs = [rows = Rows(batch, length), known, fixed](const Node& node) {
    if (fixed.count(&node) > 0) return Inputs();
    return known.count(&node) > 0 ? Inputs{0, 1, 2} : rows.inputs_of(node);
  };
  std::vector<Value*> waiting;
  auto add_value = [&](Value* value) {
    if (value != nullptr && region.values.insert(value).second) waiting.push_back(value);
  };
  auto add_node = [&](Node* node, const Inputs& inputs) {
    if (!region.nodes.insert(node).second) return;
    for (size_t i : inputs) add_value(node->inputs[i]);
    for (Value* output : node->outputs) add_value(output);
  };
  for (Node* attention : attentions) add_node(attention, {0, 1, 2});
  while (!waiting.empty()) {
    Value* value = waiting.back();
    waiting.pop_back();
    if (value->producer != nullptr) {
      const Inputs inputs = region.row_inputs(*value->producer);
      if (!inputs.empty()) add_node(value->producer, inputs);
    }
    for (Node* user : std::vector<Node*>(value->users)) {
      const Inputs inputs = region.row_inputs(*user);
      const bool reads = std::any_of(inputs.begin(), inputs.end(), [&](size_t i) { return user->inputs[i] == value; });
      if (reads) add_node(user, inputs);
    }
  }
  return region;
}

}  // namespace hussar
