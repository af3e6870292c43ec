// On a GPU a factor per channel behind an INT8 product is none: a ReLU commutes with positive factors, so that the
// scales of the weights and the bias take it.
//   QuantizedConv(x, w, scales, bias){relu, mul c}  =>  QuantizedConv(x, w, c * scales, c * bias){relu}
// smooth_products leaves such factors. Plans in FP32 keep them: who compares their tensors (compile/plan_tensors.cpp)
// finds the divisors there.
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr size_t kScales = 2, kBias = 3;

bool is_vector(const Value* value, int64_t count) {
  return value != nullptr && value->is_constant() && value->dtype == DType::kFloat32 &&
         value->constant->elements() == count;
}

// The factor, the program's only operand, behind nothing but a ReLU; null: there is none.
const Value* last_factor(const Node& node) {
  if (!is_int8_product(node) || !node.program || node.program->operand_count != 1 || node.program->step_count < 1)
    return nullptr;
  const Program& program = *node.program;
  const ProgramStep& last = program.steps[program.step_count - 1];
  const bool multiplies = last.op == ProgramOp::kMul && last.source == ProgramSource::kOperand;
  const bool has_relu = program.step_count == 2 && program.steps[0].op == ProgramOp::kRelu && program.steps[0].a == 0 &&
                        program.steps[0].dst == last.a;
  if (!multiplies || !(has_relu || (program.step_count == 1 && last.a == 0))) return nullptr;
  const Value* factor = node.inputs[static_cast<size_t>(node.program_inputs)];
  // One number per channel: of images the channels are the first of the dimensions that it has, of rows the last.
  const bool is_conv = node.op == "hussar.QuantizedConv";
  const Value* scales = node.inputs[kScales];
  if (scales == nullptr || !scales->is_constant() || !is_vector(factor, scales->constant->elements())) return nullptr;
  const Shape& shape = factor->constant->shape();
  const int rank = node.outputs[0]->rank();
  const int axis = is_conv ? shape.rank() - (rank - 1) : shape.rank() - 1;
  return axis >= 0 && shape[axis] == factor->constant->elements() ? factor : nullptr;
}

void multiply(Graph& graph, Node* node, size_t input, const Tensor& factors) {
  Value* value = node->input(input);
  if (value == nullptr) return;
  Tensor numbers(DType::kFloat32, value->constant->shape());
  for (int64_t i = 0; i < numbers.elements(); ++i)
    numbers.data<float>()[i] = value->constant->data<float>()[i] * factors.data<float>()[i];
  graph.set_input(node, input, graph.add_constant(graph.unique_name(value->name), std::move(numbers)));
}

bool fold(Graph& graph, Node* node) {
  const Value* factor = last_factor(*node);
  if (factor == nullptr || node->program_inputs != static_cast<int32_t>(kBias) + 1) return false;
  const Tensor factors = *factor->constant;
  const int64_t count = factors.elements();
  const bool fits =
      is_vector(node->input(kScales), count) && (node->input(kBias) == nullptr || is_vector(node->input(kBias), count));
  const float* numbers = factors.data<float>();
  if (!fits || !std::all_of(numbers, numbers + count, [](float number) { return number > 0 && number < 1e30F; }))
    return false;
  multiply(graph, node, kScales, factors);
  multiply(graph, node, kBias, factors);
  graph.set_input(node, kBias + 1, nullptr);
  node->inputs.resize(kBias + 1);
  Program& program = *node->program;
  program.operand_count = 0;
  if (--program.step_count > 0) return true;
  node->program.reset();
  node->program_inputs = 0;
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice || context.target.half() == DType::kUndefined) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return fold(context.graph, node); });
}

}  // namespace

extern const Pass fold_factors_pass = {
    .name = "fold_factors",
    .summary = "QuantizedConv(x, w, s, b){relu, mul c} => QuantizedConv(x, w, c * s, c * b){relu}",
    .run = run,
    .after = "correct_biases"};

}  // namespace hussar
