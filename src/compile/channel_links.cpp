#include "compile/channel_links.h"

#include <algorithm>
#include <optional>
#include <set>

#include "ops/op_def.h"
#include "sparsify/permute.h"

namespace hussar {
namespace {

// What follows one product, as far as every channel is looked at by itself.
class Follower {
 public:
  Follower(PrunableModel& model, const std::map<const Node*, size_t>& layers,
           const std::map<std::string_view, size_t>& indices)
      : model_(model), layers_(layers), indices_(indices) {}

  std::optional<ChannelLink> follow(size_t producer) {
    link_.producer = producer;
    const PrunableLayer& layer = model_.layers[producer];
    channels_ = layer.n;
    is_conv_ = layer.node->op == "Conv";
    if (!take_bias(layer) || !take_value(layer.node->outputs[0])) return std::nullopt;
    while (!work_.empty()) {
      Node* node = work_.back();
      work_.pop_back();
      if (!seen_.insert(node).second) continue;
      if (!take_node(*node)) return std::nullopt;
    }
    if (link_.consumers.empty() || !operands_.empty()) return std::nullopt;
    return link_;
  }

 private:
  bool take_bias(const PrunableLayer& layer) {
    if (layer.node->input(2) == nullptr) return true;
    return take_constant(layer.index, const_cast<Node*>(layer.node), 2, true);
  }

  bool take_value(const Value* value) {
    if (value == nullptr || model_.graph.is_output(value) || !value->dims) return false;
    region_.insert(value);
    operands_.erase(value);
    work_.insert(work_.end(), value->users.begin(), value->users.end());
    return true;
  }

  // Where channels are: along axis 1 of images, else along the last.
  int axis(int rank) const { return is_conv_ ? 1 : rank - 1; }

  // One element for all, or one per channel. is_vector: [channels].
  bool take_constant(size_t index, Node* node, size_t input, bool is_vector) {
    const Value* value = node->inputs[input];
    if (!value->is_constant() || value->dtype != DType::kFloat32)
      return value->is_constant() && value->constant->elements() == 1;
    const Shape& shape = value->constant->shape();
    if (shape.elements() == 1) return channels_ != 1;
    const int rank = node->outputs[0]->rank(), at = is_vector ? 0 : axis(rank) - (rank - shape.rank());
    if (at < 0 || at >= shape.rank() || shape[at] != channels_ || shape.elements() != channels_) return false;
    const auto& inputs = model_.proto.graph.nodes[index].inputs;
    if (input >= inputs.size() || inputs[input] != value->name) return false;
    link_.vectors.push_back({index, node, input});
    return true;
  }

  bool take_node(Node& node) {
    if (auto it = layers_.find(&node); it != layers_.end()) return take_consumer(node, it->second);
    const OpDef* op = find_op(node.op);
    auto index = node.outputs.empty() ? indices_.end() : indices_.find(node.outputs[0]->name);
    if (index == indices_.end() || node.outputs.size() != 1 || node.program || !node.bodies.empty()) return false;
    const bool is_norm = node.op == "BatchNormalization" && is_conv_;
    const bool is_pool =
        is_conv_ && (node.op == "MaxPool" || node.op == "AveragePool" || node.op == "GlobalAveragePool");
    if (!is_norm && !is_pool && !has_trait(op, kElementwise)) return false;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value* value = node.inputs[i];
      if (value == nullptr) continue;
      if (value->is_constant()) {
        if (!take_constant(index->second, &node, i, is_norm)) return false;
        continue;
      }
      // Another value of the same chain may still come; it must have all channels.
      if (value->rank() != node.outputs[0]->rank()) return false;
      if (region_.count(value) == 0) operands_.insert(value);
    }
    return take_value(node.outputs[0]);
  }

  bool take_consumer(const Node& node, size_t layer) {
    const PrunableLayer& consumer = model_.layers[layer];
    const bool is_usable = consumer.reason.empty() || consumer.is_choice;
    const bool is_alike = (node.op == "Conv") == is_conv_ && consumer.channels == channels_;
    if (!is_usable || !is_alike || region_.count(node.inputs[0]) == 0) return false;
    for (size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] != nullptr && region_.count(node.inputs[i]) > 0) return false;
    }
    link_.consumers.push_back(layer);
    return true;
  }

  PrunableModel& model_;
  const std::map<const Node*, size_t>& layers_;
  const std::map<std::string_view, size_t>& indices_;
  ChannelLink link_;
  int64_t channels_ = 0;
  bool is_conv_ = false;
  std::set<const Value*> region_, operands_;
  std::set<const Node*> seen_;
  std::vector<Node*> work_;
};

// Changes one constant input, for this node alone.
void change_constant(PrunableModel& model, size_t index, Node* node, size_t input, Tensor tensor) {
  const std::string name = model.graph.unique_name(node->inputs[input]->name + "_reordered");
  model.graph.set_input(node, input, model.graph.add_constant(name, std::move(tensor)));
  model.changed[{index, input}] = node;
}

}  // namespace

std::vector<ChannelLink> find_channel_links(PrunableModel& model) {
  std::map<const Node*, size_t> layers;
  std::map<std::string_view, size_t> indices;
  for (size_t i = 0; i < model.layers.size(); ++i) layers[model.layers[i].node] = i;
  const auto& nodes = model.proto.graph.nodes;
  for (size_t index = 0; index < nodes.size(); ++index) {
    if (!nodes[index].outputs.empty()) indices[nodes[index].outputs[0]] = index;
  }
  std::vector<ChannelLink> links;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const PrunableLayer& layer = model.layers[i];
    if (layer.n == 0 || !(layer.reason.empty() || layer.is_choice)) continue;
    if (auto link = Follower(model, layers, indices).follow(i)) links.push_back(std::move(*link));
  }
  return links;
}

void reorder_channels(PrunableModel& model, const ChannelLink& link, const std::vector<int32_t>& order) {
  auto change_weights = [&](size_t index, const std::vector<int32_t>& columns, const std::vector<int32_t>& rows) {
    const PrunableLayer& layer = model.layers[index];
    const std::vector<float> matrix = reorder(matrix_of_weights(layer).data(), layer.n, layer.k(), columns, rows);
    change_constant(model, layer.index, const_cast<Node*>(layer.node), 1, weights_of_matrix(layer, matrix));
  };
  change_weights(link.producer, {}, order);
  for (size_t consumer : link.consumers) change_weights(consumer, column_order(order, model.layers[consumer].taps), {});
  for (const ChannelLink::Vector& vector : link.vectors) {
    const Tensor& old = *vector.node->inputs[vector.input]->constant;
    Tensor tensor(DType::kFloat32, old.shape());
    for (size_t i = 0; i < order.size(); ++i) tensor.data<float>()[i] = old.data<float>()[order[i]];
    change_constant(model, vector.index, vector.node, vector.input, std::move(tensor));
  }
}

}  // namespace hussar
