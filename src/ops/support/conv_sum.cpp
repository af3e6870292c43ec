#include "ops/conv_sum.h"

#include "base/error.h"
#include "ops/conv.h"
#include "ops/op_def.h"

namespace hussar {

// The node's program, behind a step that adds its operand 0; nullopt: there is no room for that.
static std::optional<Program> program_with_sum(const Node& node) {
  Program program{};
  program.steps[0] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
  program.step_count = program.operand_count = 1;
  if (!node.program) return program;
  if (node.program->step_count >= kProgramSteps || node.program->operand_count >= kProgramOperands) return std::nullopt;
  for (int i = 0; i < node.program->step_count; ++i) {
    ProgramStep step = node.program->steps[i];
    if (step.source == ProgramSource::kOperand) ++step.b;
    program.steps[program.step_count++] = step;
  }
  program.operand_count = static_cast<uint8_t>(1 + node.program->operand_count);
  return program;
}

Status split_conv_sum(Graph& graph, Node* node) {
  const auto each = static_cast<ptrdiff_t>(inputs_of_part(node->op));
  const std::string op(parts_of_conv_sum(node->op));
  std::vector<Value*> all = node->inputs;
  if (!node->program) all.resize(2 * static_cast<size_t>(each), nullptr);
  const auto program = program_with_sum(*node);
  const bool fits = program && (!node->program || node->program_inputs == 2 * each) && std::ssize(all) >= 2 * each;
  HUSSAR_CHECK(fits, ErrorCode::kInvalidModel, "{}: malformed inputs or program", describe(*node));
  const auto second = all.begin() + each, operands = second + each;
  std::vector<Value*> of_shortcut(second, operands);
  while (of_shortcut.back() == nullptr) of_shortcut.pop_back();
  const Value& y = *node->outputs[0];
  Attributes attributes = part_attributes(node->attributes, true);
  const bool is_float = y.dtype == DType::kFloat32 || is_half(y.dtype);
  const DType dtype = op == "Conv" && is_float ? y.dtype : DType::kFloat32;
  Value* shortcut = graph.add_value(graph.unique_name(y.name), dtype, y.dims);
  shortcut->layout = y.layout;
  graph.add_node(op, node->name, std::move(of_shortcut), {shortcut}, std::move(attributes));
  std::vector<Value*> inputs(all.begin(), second);
  inputs.push_back(shortcut);
  inputs.insert(inputs.end(), operands, all.end());
  attributes = part_attributes(node->attributes, false);
  const std::string name = node->name, note = node->note;
  const std::vector<Value*> outputs = node->outputs;
  graph.remove(node);
  Node* last = graph.add_node(op, name, std::move(inputs), outputs, std::move(attributes));
  last->program = program;
  last->program_inputs = static_cast<int32_t>(each);
  last->note = note;
  return {};
}

Status infer_conv_sum(InferContext& context) {
  const size_t each = inputs_of_part(context.node.op);
  const OpDef& op = *find_op(parts_of_conv_sum(context.node.op));
  std::optional<Dims> dims[2];
  for (size_t part : {0, 1}) {
    Node convolution;
    convolution.op = op.name;
    convolution.name = context.node.name;
    convolution.attributes = part_attributes(context.attributes, part == 1);
    convolution.outputs = context.node.outputs;
    std::vector<ValueInfo> inputs;
    for (size_t i = 0; i < each; ++i)
      inputs.push_back(context.has(part * each + i) ? context.info(part * each + i) : ValueInfo());
    for (size_t i = 0; i < each - 1; ++i) {
      if (inputs[i].dtype == DType::kUndefined) return context.fail("required input {} is missing", part * each + i);
    }
    InferContext inner(
        convolution, std::move(inputs), [&] { return context.fresh(); }, nullptr);
    HUSSAR_TRY(op.infer(inner));
    if (part == 0) context.outputs[0] = inner.outputs[0];
    dims[part] = inner.outputs[0].dims;
  }
  if (!dims[0] || !dims[1]) return {};
  bool fits = dims[0]->size() == dims[1]->size();
  for (size_t i = 0; fits && i < dims[0]->size(); ++i) {
    const Dim &a = (*dims[0])[i], &b = (*dims[1])[i];
    fits = !a.is_constant() || !b.is_constant() || a == b;
  }
  return fits ? Status() : context.fail("adds results of shapes {} and {}", to_string(*dims[0]), to_string(*dims[1]));
}

Status evaluate_conv_sum(EvalContext& context) {
  Graph graph;
  std::vector<Value*> values;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const Tensor& input = context.input(i);
    values.push_back(input.valid() ? graph.add_constant("input" + std::to_string(i), input) : nullptr);
  }
  graph.outputs = {graph.add_value("y")};
  Node* copy = graph.add_node(context.node.op, context.node.name, values, graph.outputs, context.attributes);
  copy->program = context.node.program;
  copy->program_inputs = context.node.program_inputs;
  HUSSAR_TRY(split_conv_sum(graph, copy));
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  std::vector<Tensor> results = HUSSAR_TRY(evaluate_graph(graph, {}));
  context.copy_output(0, results[0]);
  return {};
}

double conv_sum_flops(const Node& node) { return conv_flops(node, 1) + conv_flops(node, inputs_of_part(node.op) + 1); }

}  // namespace hussar
