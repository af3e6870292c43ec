#include "compile/prunable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/memory.h"
#include "compile/qdq_model.h"
#include "onnx/import.h"
#include "ops/op_def.h"
#include "sparsify/pattern.h"

namespace hussar {
namespace {

bool is_product(const onnx::NodeProto& node) {
  return (node.domain.empty() || node.domain == "ai.onnx") &&
         (node.op_type == "Conv" || node.op_type == "MatMul" || node.op_type == "Gemm");
}

double flops_of(const Node& node) {
  const OpDef* op = find_op(node.op);
  if (op != nullptr && op->flops != nullptr) return op->flops(node);
  const auto shape = node.output() != nullptr ? node.output()->static_shape() : std::nullopt;
  return shape ? static_cast<double>(shape->elements()) : 0;
}

bool is_finite(const Tensor& tensor) {
  const auto* data = tensor.data<float>();
  return std::all_of(data, data + tensor.elements(), [](float x) { return std::isfinite(x); });
}

// The nodes of the file that read each name; bodies count for the node that has them, outputs of the model as a node
// behind the last.
Result<std::map<std::string_view, std::vector<size_t>>> readers_of(const onnx::GraphProto& graph) {
  std::map<std::string_view, std::vector<size_t>> readers;
  for (size_t index = 0; index < graph.nodes.size(); ++index) {
    for (std::string_view name : graph.nodes[index].inputs) readers[name].push_back(index);
    for (std::string_view name : HUSSAR_TRY(names_in_bodies(graph.nodes[index]))) readers[name].push_back(index);
  }
  for (const onnx::ValueProto& output : graph.outputs) readers[output.name].push_back(graph.nodes.size());
  return readers;
}

// Looks at the products of a model one after another.
class Finder {
 public:
  explicit Finder(PrunableModel& model) : model_(model) {}

  Status run() {
    const onnx::GraphProto& graph = model_.proto.graph;
    readers_ = HUSSAR_TRY(readers_of(graph));
    for (const auto& [name, readers] : readers_) model_.uses[name] = std::ssize(readers);
    for (const onnx::TensorProto& initializer : graph.initializers) stored_.insert(initializer.name);
    for (const onnx::NodeProto& node : graph.nodes) {
      if (node.op_type == "Constant" && !node.outputs.empty()) stored_.insert(node.outputs[0]);
    }
    std::map<std::string_view, const Node*> producers;
    for (const auto& node : model_.graph.nodes()) {
      if (node->output() != nullptr) producers[node->output()->name] = node.get();
      model_.flops += flops_of(*node);
    }
    for (size_t index = 0; index < graph.nodes.size(); ++index) {
      const onnx::NodeProto& node = graph.nodes[index];
      auto it = node.outputs.empty() || !is_product(node) ? producers.end() : producers.find(node.outputs[0]);
      if (it == producers.end() || it->second->op != node.op_type) continue;
      PrunableLayer layer;
      layer.index = index;
      layer.node = it->second;
      layer.flops = flops_of(*it->second);
      layer.reason = reason_of(layer);
      model_.layers.push_back(std::move(layer));
    }
    choose();
    return {};
  }

 private:
  // What the weights themselves say; sets the sizes of the layer.
  PruneReason reason_of(PrunableLayer& layer) const {
    const Node& node = *layer.node;
    const Value* w = node.input(1);
    if (w == nullptr || !w->is_constant() || node.inputs[0]->is_constant())
      return {"weights_not_constant", "its weights are not constant"};
    const Shape& shape = w->constant->shape();
    if (node.op == "Conv") {
      layer.n = shape[0];
      layer.channels = shape[1];
      layer.taps = shape.elements(2, shape.rank());
      const int64_t group = node.attributes.get_int("group", 1);
      if (group > 1 && layer.channels == 1)
        return {"depthwise", "depthwise convolution: it sums over no input channels"};
      if (group > 1) return {"grouped", fmt::format("grouped convolution ({} groups)", group)};
    } else {
      if (shape.rank() != 2) return {"weights_rank", fmt::format("its weights have {} dimensions", shape.rank())};
      const bool is_transposed = node.attributes.get_int("transB", 0) != 0;
      layer.n = shape[is_transposed ? 0 : 1];
      layer.channels = shape[is_transposed ? 1 : 0];
      if (node.attributes.get_int("transA", 0) != 0) return {"input_transposed", "it reads its input transposed"};
    }
    if (w->dtype != DType::kFloat32)
      return {"weights_type", fmt::format("its weights are {}, not float32", dtype_name(w->dtype))};
    if (w->constant->elements() == 0) return {"no_weights", "it has no weights"};
    if (!is_finite(*w->constant)) return {"weights_not_finite", "its weights have NaN or infinite elements"};
    if (layer.channels % kGroupColumns != 0) {
      return {"channels_not_multiple_of_4",
              fmt::format("its {} input channels are no multiple of {}", layer.channels, kGroupColumns)};
    }
    return reason_of_name(layer);
  }

  // They must stand in the file under their own name, for this product alone.
  PruneReason reason_of_name(const PrunableLayer& layer) const {
    const onnx::GraphProto& graph = model_.proto.graph;
    const std::string_view name = graph.nodes[layer.index].inputs[1];
    if (layer.node->inputs[1]->name != name || stored_.count(name) == 0) {
      return {"weights_computed",
              fmt::format("its weights '{}' are computed by other nodes; fold constants when exporting", name)};
    }
    for (size_t reader : readers_.at(name)) {
      if (reader == layer.index) continue;
      if (reader >= graph.nodes.size())
        return {"weights_output", fmt::format("its weights '{}' are an output of the model", name)};
      return {"weights_shared", fmt::format("its weights '{}' are shared with '{}'", name, title(reader))};
    }
    if (readers_.at(name).size() > 1) return {"weights_shared", fmt::format("it reads its weights '{}' twice", name)};
    return {};
  }

  std::string_view title(size_t index) const {
    const onnx::NodeProto& node = model_.proto.graph.nodes[index];
    return node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name;
  }

  // First and last products carry the most per weight, small ones gain nothing.
  void choose() {
    std::set<const Node*> products;
    for (const PrunableLayer& layer : model_.layers) {
      if (layer.n > 0) products.insert(layer.node);
    }
    std::set<const Value*> learned, used;  // made with weights; read, in the end, by a product
    for (const auto& node : model_.graph.nodes()) {
      const bool is_embedding =
          (node->op == "Gather" && node->inputs[0]->is_constant() && node->inputs[0]->rank() > 1) ||
          node->op.find("Embed") != std::string::npos;
      const bool is_learned = products.count(node.get()) > 0 || is_embedding ||
                              std::any_of(node->inputs.begin(), node->inputs.end(),
                                          [&](const Value* value) { return learned.count(value) > 0; });
      if (is_learned) learned.insert(node->outputs.begin(), node->outputs.end());
    }
    const auto& nodes = model_.graph.nodes();
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      const bool is_used =
          products.count(it->get()) > 0 || std::any_of((*it)->outputs.begin(), (*it)->outputs.end(),
                                                       [&](const Value* value) { return used.count(value) > 0; });
      if (is_used) used.insert((*it)->inputs.begin(), (*it)->inputs.end());
    }
    for (PrunableLayer& layer : model_.layers) {
      if (!layer.reason.empty()) continue;
      if (learned.count(layer.node->inputs[0]) == 0)
        layer.reason = {"first", "first product"};
      else if (used.count(layer.node->outputs[0]) == 0)
        layer.reason = {"last", "last product"};
      else if (layer.n < kFewestPrunedRows)
        layer.reason = {"few_channels",
                        fmt::format("{} output channels: fewer than {} gain nothing", layer.n, kFewestPrunedRows)};
      else if (layer.k() < kFewestPrunedColumns)
        layer.reason = {"short_k", fmt::format("k = {}: less than {} gains nothing", layer.k(), kFewestPrunedColumns)};
      layer.is_choice = !layer.reason.empty();
    }
  }

  PrunableModel& model_;
  std::map<std::string_view, std::vector<size_t>> readers_;
  std::set<std::string_view> stored_;
};

Result<PrunableModel> open_unguarded(const std::string& path, const NamedShapes& shapes) {
  PrunableModel model;
  model.file = HUSSAR_TRY(MappedFile::open(path));
  model.proto = HUSSAR_TRY(onnx::parse_model(model.file->bytes()));
  model.graph = HUSSAR_TRY(onnx::import_file(path)).graph;
  if (const Node* node = quantized_node(model.graph)) {
    return fail(ErrorCode::kUsage,
                "the model is quantized already ({}): prune the FP32 model that it was made from, then quantize that",
                describe(*node));
  }
  HUSSAR_TRY(fix_shapes(model.graph, shapes));
  HUSSAR_TRY(fold_constants(model.graph));
  HUSSAR_TRY(model.graph.sort());
  HUSSAR_TRY(Finder(model).run());
  return model;
}

// Calls visit(matrix index, file index) for all weights.
template <class Visit>
void each_weight(const PrunableLayer& layer, Visit&& visit) {
  const bool is_row_major = layer.node->op == "Conv" || layer.node->attributes.get_int("transB", 0) != 0;
  const int64_t row = is_row_major ? layer.k() : 1, channel = is_row_major ? layer.taps : layer.n;
  for (int64_t r = 0; r < layer.n; ++r) {
    for (int64_t tap = 0; tap < layer.taps; ++tap) {
      for (int64_t c = 0; c < layer.channels; ++c)
        visit((r * layer.taps + tap) * layer.channels + c, r * row + c * channel + tap);
    }
  }
}

}  // namespace

Result<PrunableModel> open_prunable_model(const std::string& path, const NamedShapes& shapes) {
  auto model = catching("read the model", [&] { return open_unguarded(path, shapes); });
  if (model || model.error().message.find(path) != std::string::npos) return model;
  return fail(model.error().code, "{}: {}", path, model.error().message);
}

std::vector<float> matrix_of_weights(const PrunableLayer& layer) {
  const Tensor& weights = *layer.node->inputs[1]->constant;
  std::vector<float> matrix(static_cast<size_t>(weights.elements()));
  const auto* data = weights.data<float>();
  each_weight(layer, [&](int64_t to, int64_t from) { matrix[static_cast<size_t>(to)] = data[from]; });
  return matrix;
}

Tensor weights_of_matrix(const PrunableLayer& layer, const std::vector<float>& matrix) {
  Tensor weights(DType::kFloat32, layer.node->inputs[1]->constant->shape());
  auto* data = weights.data<float>();
  each_weight(layer, [&](int64_t from, int64_t to) { data[to] = matrix[static_cast<size_t>(from)]; });
  return weights;
}

std::optional<BiasPlace> find_bias(const PrunableModel& model, const PrunableLayer& layer) {
  const Node& node = *layer.node;
  auto fits = [&](const Value* bias) {
    if (bias == nullptr) return true;
    if (!bias->is_constant() || bias->dtype != DType::kFloat32 || bias->constant->elements() != layer.n) return false;
    const Shape& shape = bias->constant->shape();
    return shape.rank() >= 1 && shape[shape.rank() - 1] == layer.n;
  };
  if (node.op == "Conv" || node.op == "Gemm") {
    const bool is_scaled =
        node.attributes.get_float("alpha", 1.0F) != 1.0F || node.attributes.get_float("beta", 1.0F) != 1.0F;
    if (is_scaled || !fits(node.input(2))) return std::nullopt;
    return BiasPlace{layer.index, &node, 2, node.input(2)};
  }
  // What is added to a product, and to nothing else.
  const Value* output = node.outputs[0];
  if (model.graph.use_count(output) != 1 || output->users.empty() || output->users[0]->op != "Add") return std::nullopt;
  const Node& add = *output->users[0];
  const size_t side = add.inputs[0] == output ? 1 : 0;
  if (add.inputs[side] == output || !fits(add.inputs[side])) return std::nullopt;
  const auto& nodes = model.proto.graph.nodes;
  for (size_t index = 0; index < nodes.size(); ++index) {
    const onnx::NodeProto& proto = nodes[index];
    if (proto.op_type != "Add" || !proto.domain.empty() || proto.outputs[0] != add.outputs[0]->name) continue;
    if (proto.inputs[1 - side] == output->name) return BiasPlace{index, &add, side, add.inputs[side]};
  }
  return std::nullopt;
}

const Value* value_beside(const PrunableModel& model, const PrunableLayer& layer) {
  const Value* sum = layer.node->outputs[0];
  const auto shape = sum->static_shape();
  for (;;) {
    if (!shape || model.graph.use_count(sum) != 1 || sum->users.empty()) return nullptr;
    const Node& add = *sum->users[0];
    const Value* other = add.inputs[add.inputs[0] == sum ? 1 : 0];
    if (add.op != "Add" || other == sum) return nullptr;
    if (!other->is_constant()) return other->static_shape() == shape ? other : nullptr;
    sum = add.outputs[0];
    if (sum->static_shape() != shape) return nullptr;
  }
}

Tensor changed_bias(const BiasPlace& place, const std::vector<float>& change) {
  Tensor bias = place.old != nullptr ? place.old->constant->clone()
                                     : Tensor(DType::kFloat32, {static_cast<int64_t>(change.size())});
  for (size_t i = 0; i < change.size(); ++i) bias.data<float>()[i] += change[i];
  return bias;
}

}  // namespace hussar
