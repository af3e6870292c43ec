// The vector program, one element at a time.
#include "ops/scalar_program.h"

#include <cmath>

namespace hussar {
namespace {

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }
float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }
float keep_nan(float x, float y) { return std::isnan(x) ? x : y; }

float evaluate_binary(const ProgramStep& step, float a, float b) {
  switch (step.op) {
    case ProgramOp::kCopy: return b;
    case ProgramOp::kAdd: return a + b;
    case ProgramOp::kSub: return a - b;
    case ProgramOp::kMul: return a * b;
    case ProgramOp::kDiv: return a / b;
    case ProgramOp::kMin: return std::isnan(a) || std::isnan(b) ? a + b : std::min(a, b);
    case ProgramOp::kMax: return std::isnan(a) || std::isnan(b) ? a + b : std::max(a, b);
    case ProgramOp::kPow: return std::pow(a, b);
    default: return a < 0 ? a * b : a;  // kPrelu
  }
}

}  // namespace

float evaluate_program_op(const ProgramStep& step, float a, float b) {
  if (reads_b(step.op)) return evaluate_binary(step, a, b);
  float p0 = step.p0, p1 = step.p1;
  switch (step.op) {
    case ProgramOp::kRelu: return a < 0 ? 0 : a;
    case ProgramOp::kClip: return keep_nan(a, std::min(std::max(a, p0), p1));
    case ProgramOp::kLeakyRelu: return a < 0 ? p0 * a : a;
    case ProgramOp::kElu: return a > 0 ? a : p0 * std::expm1(a);
    case ProgramOp::kSelu: return a > 0 ? p1 * a : p1 * p0 * std::expm1(a);
    case ProgramOp::kCelu: return keep_nan(a, std::max(0.0F, a) + std::min(0.0F, p0 * std::expm1(a / p0)));
    case ProgramOp::kSigmoid: return sigmoid(a);
    case ProgramOp::kHardSigmoid: return keep_nan(a, std::min(std::max(p0 * a + p1, 0.0F), 1.0F));
    case ProgramOp::kHardSwish: return a * keep_nan(a, std::min(std::max(a / 6 + 0.5F, 0.0F), 1.0F));
    case ProgramOp::kSilu: return a * sigmoid(a);
    case ProgramOp::kTanh: return std::tanh(a);
    case ProgramOp::kGeluErf: return a / 2 * (1 + std::erf(a / std::sqrt(2.0F)));
    case ProgramOp::kGeluTanh: return a / 2 * (1 + std::tanh(0.7978845608F * (a + 0.044715F * a * a * a)));
    case ProgramOp::kQuickGelu: return a * sigmoid(p0 * a);
    case ProgramOp::kErf: return std::erf(a);
    case ProgramOp::kExp: return std::exp(a);
    case ProgramOp::kLog: return std::log(a);
    case ProgramOp::kSqrt: return std::sqrt(a);
    case ProgramOp::kRsqrt: return 1 / std::sqrt(a);
    case ProgramOp::kReciprocal: return 1 / a;
    case ProgramOp::kNeg: return -a;
    case ProgramOp::kAbs: return std::fabs(a);
    case ProgramOp::kSquare: return a * a;
    case ProgramOp::kFloor: return std::floor(a);
    case ProgramOp::kCeil: return std::ceil(a);
    case ProgramOp::kRound: return std::nearbyint(a);
    case ProgramOp::kSign: return a > 0 ? 1.0F : a < 0 ? -1.0F : a;
    case ProgramOp::kSoftplus: return softplus(a);
    case ProgramOp::kSoftsign: return a / (1 + std::fabs(a));
    case ProgramOp::kMish: return a * std::tanh(softplus(a));
    case ProgramOp::kThresholdedRelu: return keep_nan(a, a > p0 ? a : 0);
    default: return a;
  }
}

static bool can_broadcast(const Shape& shape, const Shape& target) {
  int shift = target.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shift < 0 || (shape[axis] != 1 && shape[axis] != target[axis + shift])) return false;
  }
  return true;
}

Status evaluate_program(EvalContext& context, const float* start) {
  const Node& node = context.node;
  const Program& program = *node.program;
  auto first = static_cast<size_t>(node.program_inputs);
  if (first + program.operand_count != context.input_count()) return context.fail("program and inputs disagree");
  Tensor& output = context.output();
  if (output.dtype() != DType::kFloat32) return context.fail("fused programs work on float32");
  Scratch<ElementStrides> strides(context.workspace(), std::ssize(context.inputs()));
  Scratch<const float*> data(context.workspace(), std::ssize(context.inputs()));
  // What the operator itself has read is none of the program's business.
  for (size_t i = 0; i < context.input_count(); ++i) {
    strides[i] = zero_strides(output.shape());
    data[i] = nullptr;
    if (start != nullptr && i < first) continue;
    if (context.input(i).dtype() != DType::kFloat32) return context.fail("fused operands must be float32");
    if (!can_broadcast(context.shape(i), output.shape()))
      return context.fail("a fused operand of shape {} does not fit the output {}", context.shape(i).to_string(),
                          output.shape().to_string());
    strides[i] = broadcast_strides(context.shape(i), output.shape());
    data[i] = context.input(i).data<float>();
  }
  auto* out = output.data<float>();
  for_each_index(output.shape(), {strides.data(), context.input_count()}, [&](int64_t linear, const int64_t* offset) {
    float registers[kProgramRegisters] = {};
    if (start != nullptr)
      registers[0] = start[linear];
    else if (first > 0)
      registers[0] = data[0][offset[0]];
    float last = registers[0];
    for (int i = 0; i < program.step_count; ++i) {
      const ProgramStep& step = program.steps[i];
      float b = step.source == ProgramSource::kConstant   ? step.p0
                : step.source == ProgramSource::kRegister ? registers[step.b & (kProgramRegisters - 1)]
                                                          : data[first + step.b][offset[first + step.b]];
      last = registers[step.dst] = evaluate_program_op(step, registers[step.a], b);
    }
    out[linear] = last;
  });
  return {};
}

}  // namespace hussar
