// A depthwise convolution, the 1x1 convolution before it and the one after it become one node, so that what lies
// between them, the largest tensors of small networks, stays in the caches:
//   Conv{relu6} -> Conv(group=C){relu6} -> Conv{add x}   =>  hussar.InvertedResidual{add x}
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

// A convolution over images of any kind, channels-last, with constant weights.
bool is_plain_conv(const Node* node) {
  if (node == nullptr || node->op != "Conv" || node->outputs.size() != 1) return false;
  const Value* x = node->input(0);
  const Value* y = node->output();
  const Value* filter = node->input(1);
  const Value* bias = node->input(2);
  const bool has_bias = bias != nullptr && (!node->program || node->program_inputs > 2);
  if (x->rank() != 4 || x->layout != Layout::kChannelsLast || y->layout != Layout::kChannelsLast) return false;
  if (x->dtype != DType::kFloat32 || !filter->is_constant() || filter->constant->elements() == 0) return false;
  if (has_bias && (!bias->is_constant() || bias->dtype != DType::kFloat32)) return false;
  return node->attributes.get_string("auto_pad", "NOTSET") == "NOTSET";
}

bool is_depthwise(const Node* node) {
  if (!is_plain_conv(node)) return false;
  const Shape& filter = node->input(1)->constant->shape();
  return filter[1] == 1 && filter[0] > 1 && node->attributes.get_int("group", 1) == filter[0] &&
         static_dim(node->input(0), 1) == filter[0];
}

bool all_are(const Node& node, const char* name, int64_t wanted) {
  for (int64_t number : node.attributes.get_ints(name)) {
    if (number != wanted) return false;
  }
  return true;
}

bool is_product(const Node* node) {
  if (!is_plain_conv(node) || node->attributes.get_int("group", 1) != 1) return false;
  const Shape& filter = node->input(1)->constant->shape();
  return filter[2] == 1 && filter[3] == 1 && all_are(*node, "strides", 1) && all_are(*node, "pads", 0);
}

// Few input channels: the first convolution of a network, whose own kernel would gain nothing from a larger tile.
bool is_stem(const Node* node) {
  return is_plain_conv(node) && node->attributes.get_int("group", 1) == 1 && node->input(1)->constant->shape()[1] <= 4;
}

// The node's own work on its sums as an attribute: {} without any, nullopt when it is more than one operation.
std::optional<Floats> activation_of(const Node& node) {
  if (!node.program) return Floats{};
  const Program& program = *node.program;
  const ProgramStep& step = program.steps[0];
  if (program.step_count != 1 || program.operand_count != 0 || step.a != 0) return std::nullopt;
  if (reads_b(step.op) && step.source != ProgramSource::kConstant) return std::nullopt;
  return Floats{static_cast<float>(step.op), step.p0, step.p1};
}

// Whether the value only passes from its producer to its user.
bool is_inner(const Graph& graph, const Value* value) {
  return value->slice_of == nullptr && !graph.is_output(value) && value->users.size() == 1;
}

void copy_geometry(const Node& node, const std::string& prefix, Attributes& attributes) {
  for (const char* name : {"strides", "pads", "dilations"}) {
    if (const Ints* list = node.attributes.find<Ints>(name)) attributes.set(prefix + name, *list);
  }
}

Value* bias_of(const Node* node) {
  if (node == nullptr || (node->program && node->program_inputs <= 2)) return nullptr;
  return node->input(2);
}

// Microseconds of the best kernels for the nodes together: measured where all are, else predicted; infinity when a node
// has no kernel.
struct Cost {
  double predicted = 0;
  std::optional<double> measured = 0;
  void add(const Node& node, const PassContext& context) {
    const Choice choice = choose(Problem{node, context.target}, context.timings);
    const Rival* best = choice.rival();
    const bool fits = best != nullptr && best->tactic->place == context.target.place;
    predicted += fits ? best->predicted : std::numeric_limits<double>::infinity();
    measured =
        best != nullptr && best->measured && measured ? std::optional(*measured + *best->measured) : std::nullopt;
  }
};

// As predicted, unless the measured times say clearly otherwise: the time of several steps is a sum of low percentiles,
// which flatters them, and the sums are of few runs.
bool is_faster(const Cost& together, const Cost& apart) {
  constexpr double kClear = 0.9;
  const bool predicted = together.predicted < apart.predicted;
  if (!together.measured || !apart.measured) return predicted;
  return predicted ? *apart.measured >= kClear * *together.measured : *together.measured < kClear * *apart.measured;
}

// "fuse_inverted_residual: fused, predicted 80.0 us (apart 120.3 us), measured 78.1 us (apart 119.0 us)"
std::string describe(bool is_fused, const Cost& together, const Cost& apart) {
  auto pair = [&](const char* how, double fused, double separate) {
    if (!std::isfinite(fused)) return std::string(", no kernel takes the fused form");
    return is_fused ? fmt::format(", {} {:.1f} us (apart {:.1f} us)", how, fused, separate)
                    : fmt::format(", {} {:.1f} us (fused {:.1f} us)", how, separate, fused);
  };
  std::string text = is_fused ? "fuse_inverted_residual: fused" : "fuse_inverted_residual: left apart";
  text += pair("predicted", together.predicted, apart.predicted);
  if (together.measured && apart.measured) text += pair("measured", *together.measured, *apart.measured);
  return text;
}

void add_note(Node* node, const std::string& text) { node->note += (node->note.empty() ? "" : "\n") + text; }

bool fuse(const PassContext& context, Node* depthwise) {
  Graph& graph = context.graph;
  if (!is_depthwise(depthwise)) return false;
  Node* expand = depthwise->input(0)->producer;
  Node* project = only_user(graph, depthwise->output());
  const bool takes_expand = (is_product(expand) || is_stem(expand)) && is_inner(graph, expand->output()) &&
                            activation_of(*expand).has_value();
  const bool takes_project = is_product(project) && project->input(0) == depthwise->output() &&
                             is_inner(graph, depthwise->output()) && activation_of(*depthwise).has_value();
  if (!takes_expand) expand = nullptr;
  if (!takes_project) project = nullptr;
  if (expand == nullptr && project == nullptr) return false;
  Attributes attributes;
  copy_geometry(*depthwise, "depthwise_", attributes);
  if (expand != nullptr) {
    copy_geometry(*expand, "expand_", attributes);
    if (Floats step = *activation_of(*expand); !step.empty()) attributes.set("expand_activation", step);
  }
  if (project != nullptr) {
    if (Floats step = *activation_of(*depthwise); !step.empty()) attributes.set("depthwise_activation", step);
  }
  Node* last = project != nullptr ? project : depthwise;
  std::vector<Value*> inputs = {expand != nullptr ? expand->input(0) : depthwise->input(0),
                                depthwise->input(1),
                                bias_of(depthwise),
                                expand != nullptr ? expand->input(1) : nullptr,
                                bias_of(expand),
                                project != nullptr ? project->input(1) : nullptr,
                                bias_of(project)};
  const auto own = static_cast<int32_t>(inputs.size());
  const std::optional<Program> program = last->program;
  if (program) inputs.insert(inputs.end(), last->inputs.begin() + last->program_inputs, last->inputs.end());
  Node fused;
  fused.op = "hussar.InvertedResidual";
  fused.inputs = inputs;
  fused.outputs = last->outputs;
  fused.attributes = attributes;
  fused.program = program;
  fused.program_inputs = program ? own : 0;
  Cost apart, together;
  std::string name, notes;
  for (const Node* node : {expand, depthwise, project}) {
    if (node == nullptr) continue;
    apart.add(*node, context);
    name += (name.empty() ? "" : "+") + node->name;
    if (!node->note.empty()) notes += (notes.empty() ? "" : "\n") + node->note;
  }
  // Special units may make the products faster than this kernel's.
  together.add(fused, context);
  if (!context.eager && !is_faster(together, apart)) {
    add_note(depthwise, describe(false, together, apart));
    return false;
  }
  Node* node = replace_node(graph, last, fused.op, inputs, attributes);
  node->note = notes;
  if (!context.eager) add_note(node, describe(true, together, apart));
  node->name = name;
  node->program = program;
  node->program_inputs = fused.program_inputs;
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return fuse(context, node); });
}

}  // namespace

extern const Pass fuse_inverted_residual_pass = {
    .name = "fuse_inverted_residual",
    .summary = "Conv{relu6} -> Conv(group=C){relu6} -> Conv{add x} => hussar.InvertedResidual{add x}",
    .run = run,
    // Last: it takes fused nodes, their layouts, and values that are no slices of others.
    .after = "slice_channels",
    .chooses = true};

}  // namespace hussar
