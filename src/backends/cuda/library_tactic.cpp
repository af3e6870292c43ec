// Programs that libraries have, too.
#include "backends/cuda/library_tactic.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar::cuda {
namespace {

// An operand of the program, over the output.
struct Fused {
  bool is_vector, is_full;  // both over a single row
  DType dtype;
  int64_t pitch, offset;  // in elements, of rows and of the first
};

// Dimensions are Dim or int64_t.
template <class D>
Fused fused_of(std::span<const D> output, Layout layout, std::span<const D> operand, const Operand& lies,
               int64_t offset) {
  const Cover cover = fitting_cover<D>(output, layout, operand, lies.layout);
  const size_t column = layout == Layout::kChannelsLast && output.size() >= 2 ? 1 : output.size() - 1;
  bool is_row = true;
  for (size_t axis = 0; axis < output.size(); ++axis) is_row = is_row && (axis == column || output[axis] == D(1));
  const bool is_full = cover == Cover::kFull;
  return {cover == Cover::kColumn || (is_full && is_row), is_full, lies.dtype, row_pitch_of(lies), offset};
}

// Where the operand has its place; `input` is its number.
Refusal add_operand(const Fused& fused, int32_t input, DType output, LibraryEpilogue& epilogue) {
  if (fused.dtype != output) return "a fused operand is not of the output's type";
  const auto chunk = static_cast<int64_t>(16 / dtype_size(output));
  if (fused.offset % chunk != 0) return "a fused operand does not begin at a multiple of 16 bytes";
  if (fused.is_vector && epilogue.bias < 0) {
    epilogue.bias = input;
    return std::nullopt;
  }
  if (!fused.is_full || epilogue.residual >= 0) return "a fused operand is no bias and no residual";
  if (fused.pitch % chunk != 0) return "rows are not multiples of 16 bytes";
  epilogue.residual = input;
  epilogue.residual_pitch = fused.pitch;
  return std::nullopt;
}

Refusal read_program(const Program& program, int32_t first, std::span<const Fused> operands, DType output,
                     LibraryEpilogue& epilogue) {
  uint8_t at = 0;
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    if (step.a != at || epilogue.activation != Activation::kNone) return "another fused program";
    at = step.dst;
    if (step.op == ProgramOp::kRelu) {
      epilogue.activation = Activation::kRelu;
    } else if (step.op == ProgramOp::kGeluTanh) {
      epilogue.activation = Activation::kGeluTanh;
    } else if (step.op == ProgramOp::kAdd && step.source == ProgramSource::kOperand) {
      if (Refusal refusal = add_operand(operands[step.b], first + step.b, output, epilogue)) return refusal;
    } else {
      return fmt::format("fused {}", program_op_name(step.op));
    }
  }
  return std::nullopt;
}

}  // namespace

Refusal find_library_epilogue(const Node& node, LibraryEpilogue& epilogue) {
  epilogue = {};
  const Value& output = *node.outputs[0];
  const auto own = static_cast<int32_t>(node.program ? node.program_inputs : std::ssize(node.inputs));
  if (is_byte_product(node.op)) {
    epilogue.bias = 2;
  } else if (own > 2 && node.inputs[2] != nullptr) {
    if (node.inputs[2]->dtype != output.dtype) return "the bias is not of the output's type";
    epilogue.bias = 2;
  }
  if (!node.program) return std::nullopt;
  std::vector<Fused> operands;
  for (auto i = static_cast<size_t>(own); i < node.inputs.size(); ++i) {
    const Value& operand = *node.inputs[i];
    operands.push_back(
        fused_of<Dim>(*output.dims, output.layout, *operand.dims, operand_of(operand), offset_in_holder(operand)));
  }
  return read_program(*node.program, own, operands, output.dtype, epilogue);
}

Refusal find_library_epilogue(const Prepare& prepare, LibraryEpilogue& epilogue) {
  epilogue = {};
  const PlanStep& step = prepare.step;
  const Operand& output = prepare.outputs[0];
  const auto own = static_cast<int32_t>(step.program ? step.program_inputs : std::ssize(step.inputs));
  if (is_byte_product(step.op) || (own > 2 && prepare.inputs[2].present())) epilogue.bias = 2;
  if (!step.program) return std::nullopt;
  std::vector<Fused> operands;
  for (auto i = static_cast<size_t>(own); i < prepare.inputs.size(); ++i) {
    const Operand& operand = prepare.inputs[i];
    operands.push_back(fused_of<int64_t>(output.shape.dims(), output.layout, operand.shape.dims(), operand, 0));
  }
  return read_program(*step.program, own, operands, output.dtype, epilogue);
}

bool has_table(const Node& node) {
  const Value* table = is_byte_product(node.op) ? node.input(2) : nullptr;
  return table != nullptr && table->is_constant() && table->constant->shape().rank() == 2 &&
         table->constant->shape()[0] == 3;
}

bool has_one_scale(const Node& node) {
  const Tensor& scales = *node.inputs[2]->constant;
  const int64_t rows = has_table(node) ? scales.shape()[0] : 1, columns = scales.elements() / rows;
  const float* last = scales.data<float>() + (rows - 1) * columns;
  return std::all_of(last, last + columns, [&](float scale) { return scale == last[0]; });
}

Refusal check_library(const Problem& problem, Status (*library)()) {
  if (!problem.target.no_libraries.empty()) return std::string(problem.target.no_libraries);
  const Status there = library();
  return there ? Refusal() : Refusal(there.error().message);
}

std::vector<Configuration> algorithm_configurations(double predicted, int most) {
  std::vector<Configuration> list;
  for (int i = 0; i + 1 < most; ++i) list.push_back({kOtherAlgorithms[i], predicted});
  return list;
}

Result<int> wanted_algorithm(const PlanStep& step, int count) {
  const auto* wanted = step.attributes.find<std::string>(kConfigurationAttribute);
  if (wanted == nullptr) return 0;
  const auto* found = std::find(std::begin(kOtherAlgorithms), std::end(kOtherAlgorithms), *wanted);
  HUSSAR_CHECK(found != std::end(kOtherAlgorithms), ErrorCode::kPlanIncompatible,
               "step '{}': unknown configuration '{}'", step.name, *wanted);
  return std::min(1 + static_cast<int>(found - std::begin(kOtherAlgorithms)), count - 1);
}

double library_time(const Problem& problem, const DenseProduct& product, int64_t depth, bool sparse) {
  const double own = check_hopper(problem) ? ampere_time(product, problem, sparse)
                                           : hopper_time(product, {problem.dtype(0), depth, sparse});
  return 1.05 * std::max(sparse ? sparse_memory_cost(problem) : memory_cost(problem), own);
}

}  // namespace hussar::cuda
