// Joining and cutting channels-last data along the channels costs nothing when the parts live inside the whole:
//   Concat(a, b, axis=1)@nhwc  =>  a and b are written straight into the joined value
//   Split(x, axis=1)@nhwc      =>  the parts are read straight from x
//   Concat(Split(x)..., b)     =>  x is written into the joined value, and its parts are read there
#include <algorithm>

#include "passes/pass.h"

namespace hussar {
namespace {

// Kernels that take channels-last operands with any pixel pitch.
bool respects_pitch(const Node& node) {
  return node.op == "Conv" || node.op == "ConvTranspose" || node.op == "hussar.Pointwise" || node.op == "MaxPool" ||
         node.op == "AveragePool" || node.op == "GlobalAveragePool" || node.op == "GlobalMaxPool" ||
         node.op == "Resize" || node.op == "hussar.QuantizedConv" || node.op == "QuantizeLinear" ||
         node.op == "DequantizeLinear" || node.op == "hussar.GlobalAverageBytes" || node.op == "hussar.AverageBytes" ||
         node.op == "hussar.Reformat" || node.op == "Concat" || node.op == "Split";
}

bool all_users_respect_pitch(const Value& value) {
  for (const Node* user : value.users) {
    if (!respects_pitch(*user)) return false;
  }
  return true;
}

bool is_channel_axis(const Node& node) {
  const Value* y = node.outputs[0];
  int64_t axis = node.attributes.get_int("axis", 0);
  return y != nullptr && y->layout == Layout::kChannelsLast && y->dims && (axis == 1 || axis == 1 - y->rank());
}

std::optional<int64_t> channels(const Value& value) {
  if (!value.dims || value.dims->size() < 3 || !(*value.dims)[1].is_constant()) return std::nullopt;
  // The pixels of a single channel would lie apart, where elementwise work wants rows.
  if ((*value.dims)[1].is(1)) return std::nullopt;
  return (*value.dims)[1].value();
}

bool can_live_inside(const Graph& graph, const Value* part) {
  return part != nullptr && part->layout == Layout::kChannelsLast && part->slice_of == nullptr &&
         !part->is_constant() && part->producer != nullptr && respects_pitch(*part->producer) &&
         part->producer->op != "Concat" && part->producer->op != "Split" && !graph.is_output(part) && channels(*part) &&
         all_users_respect_pitch(*part);
}

// What the Concat joins: its inputs, but for the outputs of a Split in a row, which lie side by side already.
std::vector<Value*> parts_of(const Node& node) {
  std::vector<Value*> parts;
  for (size_t i = 0; i < node.inputs.size();) {
    Value* input = node.inputs[i];
    const Node* split = input == nullptr || input->slice_of == nullptr ? nullptr : input->producer;
    const bool whole =
        split != nullptr && split->op == "Split" && split->inputs[0] == input->slice_of &&
        split->outputs.size() <= node.inputs.size() - i &&
        std::equal(split->outputs.begin(), split->outputs.end(), node.inputs.begin() + static_cast<std::ptrdiff_t>(i));
    parts.push_back(whole ? input->slice_of : input);
    i += whole ? split->outputs.size() : 1;
  }
  return parts;
}

bool join(Graph& graph, Node* node) {
  if (node->op != "Concat" || node->outputs[0] == nullptr || !is_channel_axis(*node)) return false;
  Value* whole = node->outputs[0];
  if (whole->slice_of != nullptr || !all_users_respect_pitch(*whole) || graph.is_output(whole)) return false;
  const std::vector<Value*> parts = parts_of(*node);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!can_live_inside(graph, parts[i])) return false;
    for (size_t j = 0; j < i; ++j) {
      if (parts[i] == parts[j]) return false;
    }
  }
  int64_t offset = 0;
  for (Value* part : parts) {
    part->slice_of = whole;
    part->channel_offset = offset;
    offset += *channels(*part);
  }
  return true;
}

bool cut(Graph& graph, Node* node) {
  if (node->op != "Split" || node->inputs[0] == nullptr || node->outputs[0] == nullptr || !is_channel_axis(*node))
    return false;
  Value* whole = node->inputs[0];
  if (whole->layout != Layout::kChannelsLast || whole->is_constant() || whole->producer == nullptr) return false;
  if (whole->slice_of != nullptr) return false;
  for (const Value* part : node->outputs) {
    bool ok = part != nullptr && part->slice_of == nullptr && channels(*part) && !graph.is_output(part) &&
              all_users_respect_pitch(*part);
    if (!ok) return false;
  }
  int64_t offset = 0;
  for (Value* part : node->outputs) {
    part->slice_of = whole;
    part->channel_offset = offset;
    offset += *channels(*part);
  }
  return true;
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (cut(context.graph, node)) ++rewrites;
  }
  for (Node* node : context.graph.snapshot()) {
    if (join(context.graph, node)) ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass slice_channels_pass = {
    .name = "slice_channels", .summary = "Concat(a, b)@nhwc => a and b written into the result", .run = run};

}  // namespace hussar
