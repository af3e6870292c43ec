// Which operator set a model with per-channel DequantizeLinear has, and what its bodies mention.
#include <algorithm>

#include "base/error.h"
#include "compile/qdq_model.h"

namespace hussar {
namespace {

constexpr int64_t kOldest = 11, kFirstPerChannel = 13;
// Import refuses deeper ones.
constexpr int kMaxDepth = 64;

Status add_names(const onnx::GraphProto& graph, int depth, std::set<std::string_view>& names);

Status add_body_names(const onnx::NodeProto& node, int depth, std::set<std::string_view>& names) {
  HUSSAR_CHECK(depth < kMaxDepth, ErrorCode::kInvalidModel, "graphs are nested deeper than {}", kMaxDepth);
  for (const onnx::AttributeProto& attribute : node.attributes) {
    if (attribute.has_graph) HUSSAR_TRY(add_names(HUSSAR_TRY(onnx::parse_graph(attribute.graph)), depth + 1, names));
  }
  return {};
}

Status add_names(const onnx::GraphProto& graph, int depth, std::set<std::string_view>& names) {
  for (const onnx::ValueProto& input : graph.inputs) names.insert(input.name);
  for (const onnx::ValueProto& output : graph.outputs) names.insert(output.name);
  for (const onnx::TensorProto& initializer : graph.initializers) names.insert(initializer.name);
  for (const onnx::NodeProto& node : graph.nodes) {
    names.insert(node.name);
    names.insert(node.inputs.begin(), node.inputs.end());
    names.insert(node.outputs.begin(), node.outputs.end());
    HUSSAR_TRY(add_body_names(node, depth, names));
  }
  return {};
}

bool has_attribute(const onnx::NodeProto& node, std::string_view name) {
  return std::any_of(node.attributes.begin(), node.attributes.end(),
                     [&](const onnx::AttributeProto& attribute) { return attribute.name == name; });
}

// Whether the node means something else, or nothing, when the opset is 13. Between 11 and 13 attributes of these
// operators became inputs, or their default changed; others only took more types.
bool changes_until_13(const onnx::NodeProto& node, int64_t opset) {
  if (!node.domain.empty()) return false;
  const std::string_view op = node.op_type;
  if (op == "Dropout") return opset < 12 && has_attribute(node, "ratio");
  if (op == "Squeeze" || op == "Unsqueeze" || op == "ReduceSum") return has_attribute(node, "axes");
  if (op == "Split") return has_attribute(node, "split");
  if (op != "Softmax" && op != "LogSoftmax" && op != "Hardmax") return false;
  // Over the last axis both are the same.
  return std::none_of(node.attributes.begin(), node.attributes.end(),
                      [](const auto& attribute) { return attribute.name == "axis" && attribute.i == -1; });
}

Status check_can_be_raised(const onnx::GraphProto& graph, int64_t opset, int depth) {
  HUSSAR_CHECK(depth < kMaxDepth, ErrorCode::kInvalidModel, "graphs are nested deeper than {}", kMaxDepth);
  for (const onnx::NodeProto& node : graph.nodes) {
    HUSSAR_CHECK(!changes_until_13(node, opset), ErrorCode::kUsage,
                 "INT8 weights per channel need ONNX opset {}, the model has {}, and node '{}' ({}) is written another "
                 "way there; export the model with opset {} or newer, or convert it with onnx.version_converter",
                 kFirstPerChannel, opset, node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name,
                 node.op_type, kFirstPerChannel);
    for (const onnx::AttributeProto& attribute : node.attributes) {
      if (attribute.has_graph)
        HUSSAR_TRY(check_can_be_raised(HUSSAR_TRY(onnx::parse_graph(attribute.graph)), opset, depth + 1));
    }
  }
  return {};
}

}  // namespace

Result<std::set<std::string_view>> names_of(const onnx::GraphProto& graph) {
  std::set<std::string_view> names;
  HUSSAR_TRY(add_names(graph, 0, names));
  return names;
}

Result<std::set<std::string_view>> names_in_bodies(const onnx::NodeProto& node) {
  std::set<std::string_view> names;
  HUSSAR_TRY(add_body_names(node, 0, names));
  return names;
}

Result<int64_t> opset_for_qdq(const QdqModel& model) {
  if (model.opset >= kFirstPerChannel) return model.opset;
  HUSSAR_CHECK(model.opset >= kOldest && model.proto.functions.empty(), ErrorCode::kUsage,
               "INT8 weights per channel need ONNX opset {}, the model has {}{}; export it with opset {} or newer, or "
               "convert it with onnx.version_converter",
               kFirstPerChannel, model.opset, model.proto.functions.empty() ? "" : " and functions of its own",
               kFirstPerChannel);
  HUSSAR_TRY(check_can_be_raised(model.proto.graph, model.opset, 0));
  return kFirstPerChannel;
}

}  // namespace hussar
