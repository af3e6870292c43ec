// Moves transposes towards the outputs, through operators that do not mind, until they meet and cancel:
//   Transpose(Relu(Transpose(x, [0, 2, 3, 1])), [0, 3, 1, 2])  =>  Relu(x)
// Works on a copy of the graph and keeps it only when fewer elements are moved than before.
#include <algorithm>
#include <numeric>

#include "graph/graph.h"
#include "ops/numeric.h"
#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// y = Transpose(x, order): axis i of y is axis order[i] of x.
using Order = Ints;

std::optional<Order> order_of(const Node& node) {
  Order order = node.attributes.get_ints("perm");
  if (!order.empty()) return order;
  if (node.inputs[0]->rank() < 0) return std::nullopt;
  order.resize(static_cast<size_t>(node.inputs[0]->rank()));
  std::iota(order.rbegin(), order.rend(), 0);
  return order;
}

Order inverse(const Order& order) {
  Order result(order.size());
  for (size_t i = 0; i < order.size(); ++i) result[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  return result;
}

Attributes with_order(const Order& order) {
  Attributes attributes;
  attributes.set("perm", order);
  return attributes;
}

// The dims of x from those of Transpose(x, order).
std::optional<Dims> dims_before(const std::optional<Dims>& after, const Order& order) {
  if (!after || after->size() != order.size()) return std::nullopt;
  Dims before(after->size());
  for (size_t i = 0; i < order.size(); ++i) before[static_cast<size_t>(order[i])] = (*after)[i];
  return before;
}

Tensor transposed(const Tensor& tensor, const Order& order) {
  Shape shape;
  const ElementStrides own = row_major_strides(tensor.shape());
  ElementStrides strides;
  for (int64_t axis : order) {
    shape.push_back(tensor.shape()[static_cast<int>(axis)]);
    strides.push_back(own[static_cast<int>(axis)]);
  }
  Tensor result(tensor.dtype(), shape);
  size_t size = dtype_size(tensor.dtype());
  for_each_index(shape, {strides}, [&](int64_t i, const int64_t* offset) {
    std::copy_n(tensor.raw() + offset[0] * static_cast<int64_t>(size), size,
                result.raw() + i * static_cast<int64_t>(size));
  });
  return result;
}

class Sinker {
 public:
  explicit Sinker(Graph& graph) : graph_(graph) {}

  int run() {
    return rewrite_each(graph_, [this](Node* node) { return !node->program && node->bodies.empty() && visit(node); });
  }

 private:
  // The order of the Transpose that makes the value, which must have operands of `rank`.
  static std::optional<Order> transposed_by(const Value* value) {
    Node* node = produced_by(value, "Transpose");
    return node == nullptr || node->program || value->is_constant() ? std::nullopt : order_of(*node);
  }
  static Value* behind(const Value* value) { return value->producer->inputs[0]; }

  bool visit(Node* node) {
    if (node->op == "Transpose") return merge(node);
    if (node->op == "MatMul" || node->op == "Gemm") return absorb(node);
    if (node->op == "Split") return sink_split(node);
    if (node->op == "Concat") return sink_concat(node);
    if (node->outputs.size() != 1 || node->inputs.empty() || node->inputs[0] == nullptr) return false;
    if (node->op == "Slice") return sink_slice(node);
    if (node->op == "Pad") return sink_pad(node);
    if (node->op == "Resize") return sink_resize(node);
    if (node->op == "Softmax" || node->op == "LogSoftmax") return sink_softmax(node);
    if (node->op.rfind("Reduce", 0) == 0 || node->op == "Squeeze") return sink_reduction(node);
    return has_trait(find_op(node->op), kElementwise) && sink_elementwise(node);
  }

  // Puts Transpose(op(inputs), order) in the place of the node.
  bool sink(Node* node, std::vector<Value*> inputs, Attributes attributes, const Order& order) {
    Value* result = add_operation(graph_, node->name, node->op, std::move(inputs), std::move(attributes),
                                  node->output()->dtype, dims_before(node->output()->dims, order));
    replace_node(graph_, node, "Transpose", {result}, with_order(order));
    return true;
  }

  // Transpose(Transpose(x, p), q) => Transpose(x, p[q]), or x.
  bool merge(Node* node) {
    auto first = transposed_by(node->inputs[0]);
    auto second = order_of(*node);
    if (!first || !second) return false;
    Order order;
    for (int64_t axis : *second) order.push_back((*first)[static_cast<size_t>(axis)]);
    Value* x = behind(node->inputs[0]);
    if (std::is_sorted(order.begin(), order.end())) return bypass(graph_, node, x);
    replace_node(graph_, node, "Transpose", {x}, with_order(order));
    return true;
  }

  // A constant operand of Transpose(x, order), as an operand of x.
  Value* constant_before(const Value* value, const Order& order) {
    const Tensor& tensor = *value->constant;
    if (tensor.shape().rank() > static_cast<int>(order.size())) return nullptr;
    Shape padded;
    for (size_t i = tensor.shape().rank(); i < order.size(); ++i) padded.push_back(1);
    for (int64_t dim : tensor.shape()) padded.push_back(dim);
    return graph_.add_constant(graph_.unique_name(value->name), transposed(tensor.reshaped(padded), inverse(order)));
  }

  // Operands are transposed alike, constants, or scalars.
  bool sink_elementwise(Node* node) {
    std::optional<Order> order;
    for (const Value* input : node->inputs) {
      if (input != nullptr && !order) order = transposed_by(input);
    }
    if (!order || static_cast<int>(order->size()) != node->output()->rank()) return false;
    std::vector<Value*> inputs;
    for (Value* input : node->inputs) {
      bool is_scalar = input != nullptr && input->rank() == 0;
      if (input == nullptr || is_scalar)
        inputs.push_back(input);
      else if (input->is_constant() && !node->attributes.has("axis"))
        inputs.push_back(constant_before(input, *order));
      else if (transposed_by(input) == order)
        inputs.push_back(behind(input));
      else
        return false;
      if (input != nullptr && inputs.back() == nullptr) return false;
    }
    return sink(node, std::move(inputs), node->attributes, *order);
  }

  bool sink_concat(Node* node) {
    std::optional<Order> order;
    for (const Value* input : node->inputs) {
      if (!order) order = transposed_by(input);
    }
    auto axis = axis_of(*node, 0);
    if (!order || !axis) return false;
    std::vector<Value*> inputs;
    for (Value* input : node->inputs) {
      if (input->is_constant())
        inputs.push_back(constant_before(input, *order));
      else if (transposed_by(input) == order)
        inputs.push_back(behind(input));
      else
        return false;
    }
    Attributes attributes = node->attributes;
    attributes.set("axis", (*order)[static_cast<size_t>(*axis)]);
    return sink(node, std::move(inputs), std::move(attributes), *order);
  }

  bool sink_split(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    auto axis = axis_of(*node, 0);
    if (!order || !axis) return false;
    Attributes attributes = node->attributes;
    attributes.set("axis", (*order)[static_cast<size_t>(*axis)]);
    std::vector<Value*> inputs = node->inputs, old = node->outputs, parts;
    inputs[0] = behind(inputs[0]);
    for (const Value* output : old) {
      parts.push_back(output == nullptr ? nullptr
                                        : graph_.add_value(graph_.unique_name(output->name), output->dtype,
                                                           dims_before(output->dims, *order)));
    }
    node->outputs.clear();
    graph_.add_node("Split", node->name, inputs, parts, attributes);
    for (size_t i = 0; i < old.size(); ++i) {
      if (old[i] != nullptr) graph_.add_node("Transpose", node->name, {parts[i]}, {old[i]}, with_order(*order));
    }
    unlink_unused(graph_, node);
    return true;
  }

  bool sink_slice(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    auto starts = node->input(1)->static_shape();
    if (!order || !starts || starts->rank() != 1) return false;
    Ints axes(static_cast<size_t>((*starts)[0]));
    std::iota(axes.begin(), axes.end(), 0);
    if (node->input(3) != nullptr) {
      auto given = integers_of(node->input(3));
      if (!given) return false;
      axes = *given;
    }
    for (int64_t& axis : axes) {
      axis = (*order)[static_cast<size_t>(axis + (axis < 0 ? static_cast<int64_t>(order->size()) : 0))];
    }
    std::vector<Value*> inputs = node->inputs;
    inputs.resize(std::max<size_t>(inputs.size(), 4), nullptr);
    inputs[0] = behind(inputs[0]);
    inputs[3] = add_integers(graph_, node->name + "/axes", axes);
    return sink(node, std::move(inputs), node->attributes, *order);
  }

  bool sink_pad(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    auto pads = integers_of(node->input(1));
    if (!order || !pads) return false;
    size_t rank = order->size();
    Ints axes(rank);
    std::iota(axes.begin(), axes.end(), 0);
    if (node->input(3) != nullptr) {
      auto given = integers_of(node->input(3));
      if (!given) return false;
      axes = *given;
    }
    if (pads->size() != 2 * axes.size()) return false;
    Ints moved(2 * rank, 0);
    for (size_t i = 0; i < axes.size(); ++i) {
      size_t axis = static_cast<size_t>(axes[i] < 0 ? axes[i] + static_cast<int64_t>(rank) : axes[i]);
      moved[static_cast<size_t>((*order)[axis])] = (*pads)[i];
      moved[static_cast<size_t>((*order)[axis]) + rank] = (*pads)[i + axes.size()];
    }
    std::vector<Value*> inputs = {behind(node->inputs[0]), add_integers(graph_, node->name + "/pads", moved)};
    if (node->input(2) != nullptr) inputs.push_back(node->inputs[2]);
    return sink(node, std::move(inputs), node->attributes, *order);
  }

  bool sink_resize(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    if (!order || node->attributes.has("axes")) return false;
    std::vector<Value*> inputs = node->inputs;
    inputs[0] = behind(inputs[0]);
    for (size_t i = 1; i < inputs.size(); ++i) {
      if (inputs[i] == nullptr || static_dim(inputs[i], 0) == 0) continue;
      auto numbers = numbers_of(inputs[i]);
      // The region of interest lists begins and ends; nobody transposes around one.
      if (i == 1 || !numbers || numbers->size() != order->size()) return false;
      std::vector<double> moved(numbers->size());
      for (size_t k = 0; k < moved.size(); ++k) moved[static_cast<size_t>((*order)[k])] = (*numbers)[k];
      inputs[i] = add_numbers(graph_, inputs[i]->name, inputs[i]->dtype, inputs[i]->constant->shape(), moved);
    }
    return sink(node, std::move(inputs), node->attributes, *order);
  }

  // A softmax over the innermost axis is fastest: it stays there.
  bool sink_softmax(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    auto axis = axis_of(*node, -1);
    if (!order || !axis) return false;
    int64_t moved = (*order)[static_cast<size_t>(*axis)];
    auto last = static_cast<int64_t>(order->size()) - 1;
    if (*axis == last && moved != last) return false;
    Attributes attributes = node->attributes;
    attributes.set("axis", moved);
    return sink(node, {behind(node->inputs[0])}, std::move(attributes), *order);
  }

  // Reduce* and Squeeze, whose axes are input 1.
  bool sink_reduction(Node* node) {
    auto order = transposed_by(node->inputs[0]);
    bool is_squeeze = node->op == "Squeeze";
    if (!order || (is_squeeze && node->input(1) == nullptr)) return false;
    auto axes = reduced_axes(*node);
    if (!axes || axes->empty()) return false;
    Ints moved;
    for (int64_t axis : *axes) moved.push_back((*order)[static_cast<size_t>(axis)]);
    std::sort(moved.begin(), moved.end());
    std::vector<Value*> inputs = {behind(node->inputs[0]), add_integers(graph_, node->name + "/axes", moved)};
    if (!is_squeeze && keeps_dims(*node)) return sink(node, std::move(inputs), node->attributes, *order);
    // What remains of the order when the axes are gone.
    Order rest;
    for (int64_t axis : *order) {
      if (std::binary_search(moved.begin(), moved.end(), axis)) continue;
      rest.push_back(axis - (std::lower_bound(moved.begin(), moved.end(), axis) - moved.begin()));
    }
    if (!std::is_sorted(rest.begin(), rest.end())) return sink(node, std::move(inputs), node->attributes, rest);
    replace_node(graph_, node, node->op, std::move(inputs), node->attributes);
    return true;
  }

  // Whether the order exchanges the last two axes only.
  static bool exchanges_matrix(const Order& order) {
    size_t rank = order.size();
    if (rank < 2 || order[rank - 1] != static_cast<int64_t>(rank) - 2 ||
        order[rank - 2] != static_cast<int64_t>(rank) - 1) {
      return false;
    }
    for (size_t i = 0; i + 2 < rank; ++i) {
      if (order[i] != static_cast<int64_t>(i)) return false;
    }
    return true;
  }

  // Matrix products read their operands transposed.
  bool absorb(Node* node) {
    static constexpr const char* kFlags[] = {"transA", "transB"};
    std::vector<Value*> inputs = node->inputs;
    Attributes attributes = node->attributes;
    bool changed = false;
    for (size_t i = 0; i < 2; ++i) {
      auto order = transposed_by(inputs[i]);
      if (!order || !exchanges_matrix(*order)) continue;
      inputs[i] = behind(inputs[i]);
      attributes.set(kFlags[i], int64_t{attributes.get_int(kFlags[i], 0) == 0});
      changed = true;
    }
    if (!changed) return false;
    replace_node(graph_, node, node->op == "Gemm" ? "Gemm" : "com.microsoft.FusedMatMul", inputs, attributes);
    return true;
  }

  Graph& graph_;
};

// What the transposes of the graph move, a little more for each of them. Constants are transposed when the model is
// built.
double cost(const Graph& graph) {
  constexpr double kPerNode = 16;
  double total = 0;
  for (const auto& node : graph.nodes()) {
    bool counts = node->op == "Transpose" && !node->inputs[0]->is_constant();
    if (counts) total += Problem::elements(node->output()) + kPerNode;
  }
  return total;
}

Result<int> run(PassContext& context) {
  if (cost(context.graph) == 0) return 0;
  return rewrite_if_cheaper(
      context.graph, [](Graph& graph) { return Sinker(graph).run(); }, cost);
}

}  // namespace

extern const Pass eliminate_transposes_pass = {
    .name = "eliminate_transposes",
    .summary = "Transpose(Relu(Transpose(x))) => Relu(x); MatMul(x, Transpose(y)) => FusedMatMul<transB>(x, y)",
    .run = run};

}  // namespace hussar
