// Elementwise FP32 work moves into the node that produces its input, or becomes one loop of its own:
//   Conv -> Add(residual) -> Relu   =>  Conv{add x3, relu}
//   Mul -> Add -> Tanh              =>  hussar.Pointwise{mul, add, tanh}
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/program_builder.h"
#include "tensor/broadcast.h"

namespace hussar {
namespace {

bool takes_epilogue(const Node& node) {
  return node.op == "Conv" || node.op == "ConvTranspose" || node.op == "MatMul" || node.op == "hussar.IntegerMatMul" ||
         (node.op == "com.microsoft.FusedMatMul" && node.attributes.get_float("alpha", 1.0F) == 1.0F);
}

// Convolutions run channels-last, so that a per-channel operand is one value per column.
Layout layout_of_output(const Node& node) {
  bool spatial = (node.op == "Conv" || node.op == "ConvTranspose") && node.outputs[0]->rank() >= 3;
  return spatial ? Layout::kChannelsLast : Layout::kPlain;
}

// The node whose output is `value`, if elementwise work on it may move there: nobody else reads the value.
Node* host_of(const Graph& graph, const Value* value) {
  Node* host = value == nullptr ? nullptr : value->producer;
  if (host == nullptr || host->outputs.size() != 1 || graph.use_count(value) != 1) return nullptr;
  if (value->dtype != DType::kFloat32 || !value->dims) return nullptr;
  return host->op == kPointwise || takes_epilogue(*host) ? host : nullptr;
}

bool operands_fit(const Node& host, const std::vector<Value*>& operands) {
  if (host.op == kPointwise) return true;
  for (const Value* operand : operands) {
    if (!operand->dims) return false;
    Cover cover = cover_of<Dim>(*host.outputs[0]->dims, *operand->dims, layout_of_output(host));
    if (cover == Cover::kOther) return false;
  }
  return true;
}

ProgramDraft draft_of(const Node& host) {
  ProgramDraft draft;
  if (!host.program) return draft;
  draft.program = *host.program;
  for (size_t i = static_cast<size_t>(host.program_inputs); i < host.inputs.size(); ++i) {
    draft.operands.push_back(host.inputs[i]);
  }
  return draft;
}

void store(Graph& graph, Node* host, const ProgramDraft& draft) {
  if (!host->program) {
    host->program_inputs = static_cast<int32_t>(host->inputs.size());
    // Conv's optional bias keeps its place, so that operands never look like it.
    if (host->op == "Conv" || host->op == "ConvTranspose") host->program_inputs = 3;
    if (host->inputs.size() < static_cast<size_t>(host->program_inputs))
      host->inputs.resize(host->program_inputs, nullptr);
  }
  host->program = draft.program;
  for (size_t i = 0; i < draft.operands.size(); ++i) {
    size_t at = static_cast<size_t>(host->program_inputs) + i;
    if (host->input(at) != draft.operands[i]) graph.set_input(host, at, draft.operands[i]);
  }
}

// Moves an elementwise node into the producer of one of its inputs.
bool fuse_into_host(Graph& graph, Node* node) {
  Value* output = node->outputs[0];
  for (Value* main : node->inputs) {
    Node* host = host_of(graph, main);
    if (host == nullptr || !(*main->dims == *output->dims)) continue;
    ProgramDraft draft = draft_of(*host);
    if (!append_node(draft, *node, main)) continue;
    if (std::find(draft.operands.begin(), draft.operands.end(), main) != draft.operands.end()) continue;
    if (draft.program.step_count == 0 || !operands_fit(*host, draft.operands)) continue;
    store(graph, host, draft);
    host->name += "+" + node->name;
    // The value is now what the elementwise node computed, and is known by that name.
    std::string name = output->name;
    graph.replace_uses(output, main);
    graph.remove(node);
    output->name = graph.unique_name(name);
    main->name = name;
    return true;
  }
  return false;
}

// Makes the node a Pointwise of its own.
bool make_pointwise(Graph& graph, Node* node) {
  Value* main = nullptr;
  for (Value* input : node->inputs) {
    if (input != nullptr && input->dims && *input->dims == *node->outputs[0]->dims && !input->is_constant()) {
      main = input;
      break;
    }
  }
  if (main == nullptr) return false;  // outer broadcasting: left to the general kernels
  ProgramDraft draft;
  if (!append_node(draft, *node, main) || draft.program.step_count == 0) return false;
  std::vector<Value*> inputs = {main};
  inputs.insert(inputs.end(), draft.operands.begin(), draft.operands.end());
  Value* output = node->outputs[0];
  std::string name = node->name;
  graph.remove(node);
  Node* fused = graph.add_node(std::string(kPointwise), name, inputs, {output});
  fused->program = draft.program;
  fused->program_inputs = 1;
  return true;
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (!is_programmable(*node)) continue;
    // What products read as bytes stays a node of its own: their producer writes it.
    const bool stays = node->op == "hussar.FakeQuantize" && is_multiplied(node->output());
    if ((!stays && fuse_into_host(context.graph, node)) || make_pointwise(context.graph, node)) ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass fuse_pointwise_pass = {
    .name = "fuse_pointwise",
    .summary = "Conv -> Add(x) -> Relu => Conv{add, relu}; Mul -> Tanh => hussar.Pointwise{mul, tanh}",
    .run = run};

}  // namespace hussar
