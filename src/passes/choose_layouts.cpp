// Spatial work runs channels-last: convolutions, pools and resizes and what lies between them keep their data as
// N,D1..Dk,C; hussar.Reformat converts where such data meets work that wants rows in logical order.
//   x -> Conv -> Relu -> Flatten   =>  x -> Reformat -> Conv@nhwc -> Relu@nhwc -> Reformat -> Flatten
#include <algorithm>
#include <map>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

constexpr std::string_view kSpatial[] = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"};

bool is_spatial(const Node& node) {
  bool known = std::find(std::begin(kSpatial), std::end(kSpatial), node.op) != std::end(kSpatial);
  const Value* x = node.input(0);
  if (!known || x == nullptr || x->dtype != DType::kFloat32 || x->rank() < 3 || x->rank() > 5) return false;
  if (node.outputs.size() != 1 || node.outputs[0]->rank() != x->rank()) return false;
  if (node.op == "Conv" || node.op == "ConvTranspose") return node.input(1) != nullptr && node.input(1)->is_constant();
  if (node.op == "MaxPool" || node.op == "AveragePool" || node.op == "Resize") return x->rank() <= 4;
  return true;
}

// Keeps the layout of its inputs: elementwise work, slices, and joins and cuts along the channels.
bool follows(const Node& node, int rank) {
  if (node.outputs.empty() || rank < 3) return false;
  for (const Value* output : node.outputs) {
    if (output == nullptr || output->rank() != rank || output->dtype != DType::kFloat32) return false;
  }
  if (node.op == kPointwise || node.op == "Slice" || node.op == "Pad" || node.op == "hussar.DynamicFakeQuantize")
    return true;
  // What is not part of a program, because the shapes may need broadcasting.
  if (has_trait(find_op(node.op), kElementwise) && node.inputs.size() == 2) {
    return std::all_of(node.inputs.begin(), node.inputs.end(), [rank](const Value* value) {
      return value != nullptr && !value->is_constant() && value->rank() == rank;
    });
  }
  if (node.op == "Concat" || node.op == "Split") {
    int64_t axis = node.attributes.get_int("axis", 0);
    return axis == 1 || axis == 1 - rank;
  }
  return false;
}

// Reshapes of the pixels only, so that channels-last data stays as it is: x[N,C,H,1] -> Squeeze -> [N,C,H].
bool keeps_channels(const Node& node) {
  if (!has_trait(find_op(node.op), kView) || node.outputs.size() != 1) return false;
  const Value* x = node.inputs[0];
  const Value* y = node.outputs[0];
  return x != nullptr && y != nullptr && x->rank() >= 3 && y->rank() >= 3 && (*x->dims)[0] == (*y->dims)[0] &&
         (*x->dims)[1] == (*y->dims)[1];
}

class Layouts {
 public:
  Layouts(Graph& graph, const Target& target) : graph_(graph), target_(target) {}

  int run() {
    for (Node* node : graph_.snapshot()) {
      bool wants = is_spatial(*node) || wants_channels_last(*node);
      if (wants && try_channels_last(node)) continue;
      if (is_free_transpose(*node) || follows_as_view(node)) {
        ++rewrites_;
        continue;
      }
      for (size_t i = 0; i < node->inputs.size(); ++i) {
        if (node->inputs[i] != nullptr) use(node, i, Layout::kPlain);
      }
    }
    for (Value*& output : graph_.outputs) {
      if (output->layout != Layout::kChannelsLast) continue;
      Value* plain = reformat(output, Layout::kPlain);
      std::swap(plain->name, output->name);
      output = plain;
    }
    return rewrites_;
  }

 private:
  bool takes_layout(const Node& node, size_t index) const {
    const Value* value = node.inputs[index];
    return value != nullptr && !value->is_constant() && value->rank() == node.outputs[0]->rank();
  }

  // Follows as soon as one of its inputs is channels-last, whatever the size of the others.
  bool wants_channels_last(const Node& node) const {
    int rank = node.outputs.empty() || node.outputs[0] == nullptr ? -1 : node.outputs[0]->rank();
    if (!follows(node, rank)) return false;
    bool any = false;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value* value = node.inputs[i];
      if (value == nullptr) continue;
      if (takes_layout(node, i))
        any = any || value->layout == Layout::kChannelsLast;
      else if (node.op == kPointwise && value->is_constant() && !is_per_channel(*value))
        return false;
      else if (node.op == kPointwise && !value->is_constant() && Problem::elements(value) != 1)
        return false;
    }
    return any;
  }

  // A constant whose bytes are the same in both layouts: one that varies along one axis at most.
  static bool is_per_channel(const Value& value) {
    const Shape& shape = value.constant->shape();
    return std::count_if(shape.begin(), shape.end(), [](int64_t dim) { return dim != 1; }) <= 1;
  }

  // Gives the node channels-last data if some kernel takes it so; the reference evaluator only knows plain data.
  bool try_channels_last(Node* node) {
    std::vector<Value*> before = node->inputs;
    bool spatial = is_spatial(*node);
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      bool is_data = spatial ? i == 0 || (node->program && i >= static_cast<size_t>(node->program_inputs)) : true;
      if (is_data && node->inputs[i] != nullptr && takes_layout(*node, i)) use(node, i, Layout::kChannelsLast);
    }
    for (Value* output : node->outputs) output->layout = Layout::kChannelsLast;
    if (choose(Problem{*node, target_}).tactic() != nullptr) return true;
    for (size_t i = 0; i < before.size(); ++i) graph_.set_input(node, i, before[i]);
    for (Value* output : node->outputs) output->layout = Layout::kPlain;
    return false;
  }

  bool follows_as_view(Node* node) const {
    if (!keeps_channels(*node) || node->inputs[0]->layout != Layout::kChannelsLast) return false;
    node->outputs[0]->layout = Layout::kChannelsLast;
    if (choose(Problem{*node, target_}).tactic() != nullptr) return true;
    node->outputs[0]->layout = Layout::kPlain;
    return false;
  }

  void use(Node* node, size_t index, Layout layout) {
    Value* value = node->inputs[index];
    if (value->layout == layout || (value->is_constant() && layout == Layout::kPlain)) return;
    graph_.set_input(node, index, reformat(value, layout));
  }

  Value* reformat(Value* value, Layout layout) {
    Value*& converted = converted_[value];
    if (converted != nullptr) return converted;
    converted = graph_.add_value(graph_.unique_name(value->name), value->dtype, value->dims);
    converted->layout = layout;
    graph_.add_node("hussar.Reformat", value->name, {value}, {converted});
    ++rewrites_;
    return converted;
  }

  // The axes of x that are not 1, in the order in which a tensor with the axes `order` of x lies in memory.
  static Ints memory_order(const Value& x, const Ints& order, Layout layout) {
    Ints places;
    for (size_t place = 0; place < order.size(); ++place) {
      size_t axis = place;
      if (layout == Layout::kChannelsLast && place > 0) axis = place + 1 < order.size() ? place + 1 : 1;
      if (!(*x.dims)[static_cast<size_t>(order[axis])].is(1)) places.push_back(order[axis]);
    }
    return places;
  }

  // Transpose to N,D..,C of channels-last data, or from it of plain data, moves no byte; nor does one that is either
  // but for axes of 1.
  static bool is_free_transpose(const Node& node) {
    if (node.op != "Transpose" || node.inputs[0] == nullptr || node.inputs[0]->is_constant()) return false;
    const Value& x = *node.inputs[0];
    const int rank = x.rank();
    const Ints order = node.attributes.get_ints("perm");
    if (rank < 3 || static_cast<int>(order.size()) != rank || x.dtype != DType::kFloat32) return false;
    Ints same;
    for (int axis = 0; axis < rank; ++axis) same.push_back(axis);
    const Ints from = memory_order(x, same, x.layout);
    if (x.layout == Layout::kChannelsLast) return from == memory_order(x, order, Layout::kPlain);
    if (from != memory_order(x, order, Layout::kChannelsLast)) return false;
    node.outputs[0]->layout = Layout::kChannelsLast;
    return true;
  }

  Graph& graph_;
  Target target_;
  std::map<Value*, Value*> converted_;
  int rewrites_ = 0;
};

Result<int> run(PassContext& context) { return Layouts(context.graph, context.target).run(); }

}  // namespace

extern const Pass choose_layouts_pass = {
    .name = "choose_layouts",
    .summary = "Conv -> Relu -> Flatten => Reformat -> Conv@nhwc{relu} -> Reformat -> Flatten",
    .run = run};

}  // namespace hussar
