// Operands of epilogues: how each lies over the output, and how N of its elements are loaded.
#include "backends/cuda/epilogue_source.h"

#include "backends/cuda/program_source.h"
#include "tensor/broadcast.h"

namespace hussar::cuda {
namespace {

Cover cover_in(const Node& node, const Value& operand) {
  const Value& output = *node.outputs[0];
  return fitting_cover<Dim>(*output.dims, output.layout, *operand.dims, operand.layout);
}

int64_t columns_of(const Operand& operand) {
  const int rank = operand.shape.rank();
  if (operand.layout == Layout::kChannelsLast) return operand.pitch;
  return rank == 0 ? 1 : operand.shape[rank - 1];
}

// Whether eight neighbours of every row begin at a multiple of eight elements.
bool is_aligned(const Value& value) {
  return columns_of(operand_of(value)) % 8 == 0 && offset_in_holder(value) % 8 == 0;
}

std::string load_source(const Node& node, size_t input, int index) {
  const Value& value = *node.inputs[input];
  const std::string data = fmt::format("operands.data{}", index);
  const std::string to = fmt::format("o{}", index);
  switch (cover_in(node, value)) {
    case Cover::kScalar: return fmt::format("broadcast({}, {});", data, to);
    case Cover::kRow: return fmt::format("broadcast({} + row, {});", data, to);
    case Cover::kColumn: return fmt::format("load({} + column, {});", data, to);
    default: break;
  }
  return fmt::format("{}({} + row * operands.pitch{} + column, {});", is_aligned(value) ? "load" : "load_each", data,
                     index, to);
}

}  // namespace

Refusal check_epilogue(const Problem& problem) {
  const Node& node = problem.node;
  if (!node.program) return std::nullopt;
  for (size_t i = problem.own_inputs(); i < node.inputs.size(); ++i) {
    const Value* operand = node.inputs[i];
    if (operand == nullptr || !is_float(operand->dtype)) return "fused operand";
    if (cover_in(node, *operand) == Cover::kOther) return "fused operand in another layout, or of general broadcasting";
  }
  return std::nullopt;
}

std::string epilogue_source(const Node& node, int bias) {
  std::vector<size_t> inputs;
  if (bias >= 0) inputs.push_back(static_cast<size_t>(bias));
  const size_t own = node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
  for (size_t i = own; i < node.inputs.size(); ++i) inputs.push_back(i);
  std::string members, loads, arguments;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& value = *node.inputs[inputs[i]];
    members += fmt::format("  const {}* data{};\n  long long pitch{};\n", type_name(value.dtype), i, i);
    const bool is_bias = bias >= 0 && i == 0;
    const std::string load =
        is_bias ? "load(operands.data0 + column, o0);" : load_source(node, inputs[i], static_cast<int>(i));
    loads += fmt::format("  float o{}[N];\n  {}\n", i, load);
    if (!is_bias) arguments += fmt::format(", o{}[i]", i);
  }
  std::string value = bias >= 0 ? "value[i] + o0[i]" : "value[i]";
  if (node.program) value = fmt::format("run_program({}{})", value, arguments);
  if (inputs.empty()) members = "  long long nothing;\n";
  return (node.program ? program_source(*node.program) : std::string()) +
         fmt::format(
             "struct EpilogueOperands {{\n{}}};\n"
             "template <int N>\n__device__ __forceinline__ void epilogue_of(float (&value)[N], const "
             "EpilogueOperands& operands, long long row, int column) {{\n{}"
             "#pragma unroll\n  for (int i = 0; i < N; ++i) value[i] = {};\n}}\n"
             "__device__ __forceinline__ void epilogue(float (&value)[8], const EpilogueOperands& operands, "
             "long long row, int column) {{\n  epilogue_of(value, operands, row, column);\n}}\n",
             members, loads, value);
}

Status EpilogueState::prepare(const Prepare& prepare, int bias) {
  const PlanStep& step = prepare.step;
  const Operand& output = prepare.outputs[0];
  count_ = 0;
  if (bias >= 0) operands_[count_++] = {bias, 0};
  if (!step.program) return {};
  for (int i = 0; i < step.program->operand_count; ++i) {
    const int32_t input = step.program_inputs + i;
    const Operand& operand = prepare.inputs[static_cast<size_t>(input)];
    const Cover cover =
        fitting_cover<int64_t>(output.shape.dims(), output.layout, operand.shape.dims(), operand.layout);
    HUSSAR_CHECK(cover != Cover::kOther && is_float(operand.dtype), ErrorCode::kUsage,
                 "step '{}': fused operand {} of shape {} does not fit the output {}", step.name, i,
                 operand.shape.to_string(), output.shape.to_string());
    operands_[count_++] = {input, columns_of(operand)};
  }
  return {};
}

void EpilogueState::put(const Run& run, Words& words) const {
  for (int i = 0; i < count_; ++i) {
    words.put(run.inputs[static_cast<size_t>(operands_[i].input)].data);
    words.put(operands_[i].pitch);
  }
  if (count_ == 0) words.put(int64_t{0});
}

}  // namespace hussar::cuda
