// hussar.Bottleneck as its two convolutions, and back.
#include "graph/bottleneck.h"

namespace hussar {
namespace {

constexpr std::string_view kFirst = "first_", kActivation = "first_activation";

bool is_part(std::string_view op) { return op == "Conv" || op == "hussar.QuantizedConv"; }

// A convolution's own inputs: x, weights, scales where it is of bytes, and the bias if there is one.
std::vector<Value*> own_inputs(std::string_view op, Value* x, std::initializer_list<Value*> weights_scales_bias) {
  auto it = weights_scales_bias.begin();
  std::vector<Value*> inputs = {x, it[0]};
  if (op != "Conv") inputs.push_back(it[1]);
  inputs.push_back(it[2]);
  return inputs;
}

// {} without a program, nullopt where it cannot be said.
std::optional<Floats> activation_of(const Node& node) {
  if (!node.program) return Floats{};
  const Program& program = *node.program;
  const ProgramStep& step = program.steps[0];
  if (program.step_count != 1 || program.operand_count != 0 || step.a != 0) return std::nullopt;
  if (reads_b(step.op) && step.source != ProgramSource::kConstant) return std::nullopt;
  return Floats{static_cast<float>(step.op), step.p0, step.p1};
}

std::optional<Program> program_of(const Floats& step) {
  Program program{};
  program.step_count = 1;
  if (step.size() != 3 || !(step[0] >= 0) || !(step[0] < static_cast<float>(kProgramOpCount))) return std::nullopt;
  const auto op = static_cast<ProgramOp>(static_cast<int>(step[0]));
  program.steps[0] = {op, 0, 0, ProgramSource::kConstant, 0, {}, step[1], step[2]};
  return is_valid(program) ? std::optional(program) : std::nullopt;
}

size_t own_count(const Node& node) {
  return node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
}

// Weights, scales and bias of a convolution.
void take_own(const Node& node, std::vector<Value*>& inputs) {
  const bool has_scales = node.op != "Conv";
  auto own = [&](size_t i) { return i < own_count(node) ? node.inputs[i] : nullptr; };
  inputs.push_back(own(1));
  inputs.push_back(has_scales ? own(2) : nullptr);
  inputs.push_back(own(has_scales ? 3 : 2));
}

}  // namespace

std::optional<BottleneckParts> bottleneck_parts(const std::string& name, const Attributes& attributes) {
  BottleneckParts parts;
  parts.first.op = parts.second.op = attributes.get_string("op", "");
  parts.first.name = parts.second.name = name;
  if (!is_part(parts.first.op)) return std::nullopt;
  for (const auto& [key, value] : attributes.all()) {
    if (key == "op" || key == kActivation) continue;
    if (key.starts_with(kFirst))
      parts.first.attributes.set(key.substr(kFirst.size()), value);
    else
      parts.second.attributes.set(key, value);
  }
  if (const Floats* step = attributes.find<Floats>(kActivation)) {
    parts.first.program = program_of(*step);
    if (!parts.first.program) return std::nullopt;
  }
  return parts;
}

std::optional<Node> bottleneck_of(const Node& first, const Node& second) {
  if (first.op != second.op || !is_part(first.op) || first.outputs.size() != 1) return std::nullopt;
  const size_t own = first.op == "Conv" ? 3 : 4;
  const auto step = activation_of(first);
  if (!step || own_count(first) > own || own_count(second) > own) return std::nullopt;
  Node node;
  node.op = kBottleneck;
  node.name = first.name + "+" + second.name;
  node.attributes = second.attributes;
  for (const auto& [key, value] : first.attributes.all()) node.attributes.set(std::string(kFirst) + key, value);
  node.attributes.set("op", first.op);
  if (!step->empty()) node.attributes.set(kActivation, *step);
  node.inputs = {first.inputs[0]};
  take_own(first, node.inputs);
  take_own(second, node.inputs);
  node.program = second.program;
  if (second.program) {
    node.program_inputs = Bottleneck::kOperands;
    node.inputs.insert(node.inputs.end(), second.inputs.begin() + second.program_inputs, second.inputs.end());
  }
  return node;
}

void link_parts(const Node& node, Value* middle, BottleneckParts& parts) {
  using B = Bottleneck;
  auto input = [&](size_t i) { return i < own_count(node) ? node.input(i) : nullptr; };
  parts.first.inputs =
      own_inputs(parts.first.op, input(B::kX), {input(B::kFirstWeights), input(B::kFirstScales), input(B::kFirstBias)});
  parts.first.program_inputs = parts.first.program ? static_cast<int32_t>(parts.first.inputs.size()) : 0;
  parts.second.inputs =
      own_inputs(parts.second.op, middle, {input(B::kSecondWeights), input(B::kSecondScales), input(B::kSecondBias)});
  parts.second.program = node.program;
  parts.second.program_inputs = node.program ? static_cast<int32_t>(parts.second.inputs.size()) : 0;
  if (node.program)
    parts.second.inputs.insert(parts.second.inputs.end(), node.inputs.begin() + node.program_inputs, node.inputs.end());
}

}  // namespace hussar
