// The table of elementwise operators and the steps they become.
#include "passes/support/program_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/support/fake_quantize.h"
#include "tensor/fake_quantize.h"

namespace hussar {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct UnaryRow {
  std::string_view op;
  ProgramOp code;
  const char* p0 = nullptr;  // attribute
  float p0_default = 0;
  const char* p1 = nullptr;
  float p1_default = 0;
};

constexpr UnaryRow kUnary[] = {
    {"Relu", ProgramOp::kRelu},
    {"Sigmoid", ProgramOp::kSigmoid},
    {"Tanh", ProgramOp::kTanh},
    {"Erf", ProgramOp::kErf},
    {"Exp", ProgramOp::kExp},
    {"Log", ProgramOp::kLog},
    {"Sqrt", ProgramOp::kSqrt},
    {"Reciprocal", ProgramOp::kReciprocal},
    {"Neg", ProgramOp::kNeg},
    {"Abs", ProgramOp::kAbs},
    {"Floor", ProgramOp::kFloor},
    {"Ceil", ProgramOp::kCeil},
    {"Round", ProgramOp::kRound},
    {"Sign", ProgramOp::kSign},
    {"Softplus", ProgramOp::kSoftplus},
    {"Softsign", ProgramOp::kSoftsign},
    {"Mish", ProgramOp::kMish},
    {"HardSwish", ProgramOp::kHardSwish},
    {"LeakyRelu", ProgramOp::kLeakyRelu, "alpha", 0.01F},
    {"Elu", ProgramOp::kElu, "alpha", 1.0F},
    {"Celu", ProgramOp::kCelu, "alpha", 1.0F},
    {"Selu", ProgramOp::kSelu, "alpha", 1.67326319217681884765625F, "gamma", 1.05070102214813232421875F},
    {"HardSigmoid", ProgramOp::kHardSigmoid, "alpha", 0.2F, "beta", 0.5F},
    {"ThresholdedRelu", ProgramOp::kThresholdedRelu, "alpha", 1.0F},
    {"Swish", ProgramOp::kQuickGelu, "alpha", 1.0F},
    {"com.microsoft.QuickGelu", ProgramOp::kQuickGelu, "alpha", 1.702F},
};

struct BinaryRow {
  std::string_view op;
  ProgramOp code;
};

constexpr BinaryRow kBinary[] = {
    {"Add", ProgramOp::kAdd}, {"Sub", ProgramOp::kSub}, {"Mul", ProgramOp::kMul},
    {"Div", ProgramOp::kDiv}, {"Min", ProgramOp::kMin}, {"Max", ProgramOp::kMax},
    {"Sum", ProgramOp::kAdd}, {"Pow", ProgramOp::kPow}, {"PRelu", ProgramOp::kPrelu},
};

const UnaryRow* find_unary(std::string_view op) {
  const auto* row = std::find_if(std::begin(kUnary), std::end(kUnary), [&](const UnaryRow& r) { return r.op == op; });
  return row == std::end(kUnary) ? nullptr : row;
}

const BinaryRow* find_binary(std::string_view op) {
  const auto* row =
      std::find_if(std::begin(kBinary), std::end(kBinary), [&](const BinaryRow& r) { return r.op == op; });
  return row == std::end(kBinary) ? nullptr : row;
}

std::optional<float> scalar(const Value* value) {
  if (value == nullptr || !value->is_constant() || value->dtype != DType::kFloat32) return std::nullopt;
  if (value->constant->elements() != 1) return std::nullopt;
  return value->constant->data<float>()[0];
}

// A scalar constant of rank 0 or 1 never changes the shape of what it is combined with.
std::optional<float> plain_scalar(const Value* value, const Value* main) {
  auto number = scalar(value);
  return number && value->rank() <= std::max(main->rank(), 0) ? number : std::nullopt;
}

ProgramStep step_of(ProgramOp op) {
  ProgramStep step{};
  step.op = op;
  return step;
}

bool append_clip(ProgramDraft& draft, const Node& node) {
  ProgramStep step = step_of(ProgramOp::kClip);
  step.p0 = node.input(1) == nullptr ? -kInfinity : *scalar(node.input(1));
  step.p1 = node.input(2) == nullptr ? kInfinity : *scalar(node.input(2));
  return draft.add(step);
}

bool append_unary(ProgramDraft& draft, const Node& node, const UnaryRow& row) {
  ProgramStep step = step_of(row.code);
  if (row.p0 != nullptr) step.p0 = node.attributes.get_float(row.p0, row.p0_default);
  if (row.p1 != nullptr) step.p1 = node.attributes.get_float(row.p1, row.p1_default);
  if (row.code == ProgramOp::kQuickGelu && step.p0 == 1.0F) step.op = ProgramOp::kSilu;
  return draft.add(step);
}

bool append_binary(ProgramDraft& draft, const Node& node, ProgramOp op, const Value* main) {
  Value* left = node.inputs[0];
  Value* right = node.inputs[1];
  ProgramStep step = step_of(op);
  if (left == right) {
    step.source = ProgramSource::kRegister;
    return draft.add(step);
  }
  bool main_is_left = left == main;
  Value* other = main_is_left ? right : left;
  auto constant = plain_scalar(other, main);
  if (op == ProgramOp::kPow && main_is_left && constant) {
    if (*constant == 2.0F) return draft.add(step_of(ProgramOp::kSquare));
    if (*constant == 0.5F) return draft.add(step_of(ProgramOp::kSqrt));
    if (*constant == 1.0F) return true;
  }
  int index = constant ? 0 : draft.operand(other);
  if (index < 0) return false;
  ProgramStep load = step;
  load.source = constant ? ProgramSource::kConstant : ProgramSource::kOperand;
  load.b = static_cast<uint8_t>(index);
  load.p0 = constant.value_or(0);
  bool commutes = op == ProgramOp::kAdd || op == ProgramOp::kMul || op == ProgramOp::kMin || op == ProgramOp::kMax;
  if (main_is_left || commutes) return draft.add(load);
  // other (op) register 0: fetch the other side into register 1 first.
  load.op = ProgramOp::kCopy;
  load.dst = 1;
  step.a = 1;
  step.source = ProgramSource::kRegister;
  step.b = 0;
  return draft.add(load) && draft.add(step);
}

}  // namespace

bool ProgramDraft::add(ProgramStep step) {
  if (program.step_count >= kProgramSteps) return false;
  program.steps[program.step_count++] = step;
  return true;
}

int ProgramDraft::operand(Value* value) {
  auto it = std::find(operands.begin(), operands.end(), value);
  if (it != operands.end()) return static_cast<int>(it - operands.begin());
  if (operands.size() >= kProgramOperands) return -1;
  operands.push_back(value);
  program.operand_count = static_cast<uint8_t>(operands.size());
  return static_cast<int>(operands.size()) - 1;
}

bool is_programmable(const Node& node) {
  if (node.program || node.outputs.size() != 1 || node.inputs.empty()) return false;
  for (const Value* value : node.inputs) {
    if (value != nullptr && (value->dtype != DType::kFloat32 || !value->dims)) return false;
  }
  if (node.outputs[0]->dtype != DType::kFloat32 || !node.outputs[0]->dims || node.inputs[0] == nullptr) return false;
  if (node.op == "Clip") {
    return (node.input(1) == nullptr || scalar(node.input(1))) && (node.input(2) == nullptr || scalar(node.input(2)));
  }
  if (node.op == "Gelu" || node.op == "hussar.FakeQuantize") return true;
  if (find_unary(node.op) != nullptr) return node.inputs.size() == 1;
  return find_binary(node.op) != nullptr && node.inputs.size() == 2 && node.inputs[1] != nullptr;
}

bool append_node(ProgramDraft& draft, const Node& node, const Value* main) {
  if (node.op == "Clip") return append_clip(draft, node);
  if (node.op == "Gelu") {
    bool is_tanh = node.attributes.get_string("approximate", "none") == "tanh";
    return draft.add(step_of(is_tanh ? ProgramOp::kGeluTanh : ProgramOp::kGeluErf));
  }
  if (node.op == "hussar.FakeQuantize") {
    bool fits = true;
    for (int i = 0; i < kFakeQuantizeSteps; ++i)
      fits = fits && draft.add(fake_quantize_step(*fake_quantize_params(node), i));
    return fits;
  }
  if (const UnaryRow* row = find_unary(node.op)) return append_unary(draft, node, *row);
  return append_binary(draft, node, find_binary(node.op)->code, main);
}

bool append_program(ProgramDraft& draft, const Program& program, const std::vector<Value*>& operands) {
  for (int i = 0; i < program.step_count; ++i) {
    ProgramStep step = program.steps[i];
    if (reads_b(step.op) && step.source == ProgramSource::kOperand) {
      int index = draft.operand(operands[step.b]);
      if (index < 0) return false;
      step.b = static_cast<uint8_t>(index);
    }
    if (!draft.add(step)) return false;
  }
  return true;
}

}  // namespace hussar
