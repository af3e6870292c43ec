// cuda_elementwise: operators that work element by element, and fused chains of them, with any broadcasting.
#include <fmt/format.h>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"

namespace hussar {
namespace {

using namespace cuda;

// What an operator makes of x0, x1, ... in the type that it computes in: float, or long long for integers.
struct Expression {
  std::string_view op, floats, integers;  // empty: not of these
};
constexpr Expression kExpressions[] = {
    {"Add", "x0 + x1", "x0 + x1"},
    {"Sub", "x0 - x1", "x0 - x1"},
    {"Mul", "x0 * x1", "x0 * x1"},
    {"Div", "x0 / x1", "x1 == 0 ? 0 : x0 / x1"},
    {"Pow", "f_pow(x0, x1)", ""},
    {"Equal", "x0 == x1", "x0 == x1"},
    {"Greater", "x0 > x1", "x0 > x1"},
    {"GreaterOrEqual", "x0 >= x1", "x0 >= x1"},
    {"Less", "x0 < x1", "x0 < x1"},
    {"LessOrEqual", "x0 <= x1", "x0 <= x1"},
    {"And", "", "x0 && x1"},
    {"Or", "", "x0 || x1"},
    {"Xor", "", "(x0 != 0) != (x1 != 0)"},
    {"Not", "", "!x0"},
    {"Identity", "x0", "x0"},
    {"Abs", "fabsf(x0)", "x0 < 0 ? -x0 : x0"},
    {"Neg", "-x0", "-x0"},
    {"Sign", "f_sign(x0)", "(x0 > 0) - (x0 < 0)"},
    {"IsNaN", "x0 != x0", ""},
    {"Sin", "sinf(x0)", ""},
    {"Cos", "cosf(x0)", ""},
    {"Tan", "tanf(x0)", ""},
    {"Asin", "asinf(x0)", ""},
    {"Acos", "acosf(x0)", ""},
    {"Atan", "atanf(x0)", ""},
    {"Sinh", "sinhf(x0)", ""},
    {"Cosh", "coshf(x0)", ""},
    {"Asinh", "asinhf(x0)", ""},
    {"Acosh", "acoshf(x0)", ""},
    {"Atanh", "atanhf(x0)", ""},
};

const Expression* find_expression(std::string_view op) {
  for (const Expression& expression : kExpressions) {
    if (expression.op == op) return &expression;
  }
  return nullptr;
}

// For each of VECTOR neighbours, from x0, x1, ...; empty: not this operator.
std::string expression_of(const Node& node) {
  const DType from = node.inputs[0]->dtype, to = node.outputs[0]->dtype;
  if (node.op == "Cast" || node.op == "CastLike") return to == DType::kBool ? "x0 != 0" : "x0";
  if (node.op == "Where") return "x0 ? x1 : x2";
  const Expression* expression = find_expression(node.op);
  if (expression == nullptr) return {};
  return std::string(is_float(from) ? expression->floats : expression->integers);
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  const bool is_program = node.op == "hussar.Pointwise";
  const bool is_cast = node.op == "Cast" || node.op == "CastLike";
  if (!is_program && !is_cast && node.op != "Where" && find_expression(node.op) == nullptr) return "op";
  if (!is_program && node.program) return "fused program";
  if (Refusal refusal = refuse_op(problem, {node.op})) return refusal;
  if (node.inputs.empty() || node.inputs.size() + 1 > kNestTensors) return "number of inputs";
  const Value& output = *problem.output();
  for (const Value* input : node.inputs) {
    if (input == nullptr || memory_type(input->dtype).empty()) return "dtype";
    if (is_program && !is_float(input->dtype)) return "dtype";
    // A constant of one axis is the same in both layouts.
    if (input->layout != output.layout && !input->is_constant()) return "mixed layouts";
  }
  if (memory_type(output.dtype).empty()) return "dtype";
  if (!is_program && expression_of(node).empty()) return "dtype";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

Result<LoopNest> nest_of(const Node& node) {
  std::vector<Operand> inputs;
  const size_t count = node.op == "CastLike" ? 1 : node.inputs.size();
  for (size_t i = 0; i < count; ++i) inputs.push_back(operand_of(*node.inputs[i]));
  return loop_nest(inputs, operand_of(*node.outputs[0]));
}

// A slice of channels must begin at a multiple, too.
int vector_of(const Node& node, const LoopNest& nest) {
  int vector = nest.vector();
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const Value* value : *list) {
      while (offset_in_holder(*value) % vector != 0) vector /= 2;
    }
  }
  return vector;
}

std::string compute_source(const Node& node, const LoopNest& nest) {
  std::string text =
      "__device__ __forceinline__ void compute(const Elementwise& work, const long long "
      "(&offsets)[INPUTS], COMPUTE_TYPE (&value)[VECTOR]) {\n";
  const auto inputs = static_cast<size_t>(nest.tensors - 1);
  for (size_t i = 0; i < inputs; ++i) {
    const DType dtype = node.inputs[i]->dtype;
    const bool moves = nest.strides[i + 1][nest.rank - 1] != 0;
    text += fmt::format("  {0} v{1}[VECTOR];\n  {2}(static_cast<const {3}*>(work.inputs[{1}]) + offsets[{1}], v{1});\n",
                        compute_type(dtype), i, moves ? "load" : "broadcast", memory_type(dtype));
  }
  text += "#pragma unroll\n  for (int i = 0; i < VECTOR; ++i) {\n";
  if (node.program) {
    const auto own = static_cast<size_t>(node.program_inputs);
    text += own > 0 ? "    value[i] = run_program(v0[i]" : "    value[i] = run_program(0.0f";
    for (size_t i = own; i < inputs; ++i) text += fmt::format(", v{}[i]", i);
    text += ");\n";
  } else {
    for (size_t i = 0; i < inputs; ++i) text += fmt::format("    const auto x{0} = v{0}[i];\n", i);
    text += fmt::format("    value[i] = {};\n", expression_of(node));
  }
  return text + "  }\n}\n";
}

constexpr std::string_view kLoops = "hussar_loops";

Status pack(Packing& packing) {
  Node& node = packing.node;
  const LoopNest nest = HUSSAR_TRY(nest_of(node));
  Defines defines;
  define_loops(nest, vector_of(node, nest), kLoops, node, defines);
  defines.set("OUTPUT_TYPE", memory_type(node.outputs[0]->dtype));
  defines.set("COMPUTE_TYPE", compute_type(node.outputs[0]->dtype));
  const std::string program = node.program ? program_source(*node.program) : std::string();
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh", "elementwise.cuh"},
                                       program + compute_source(node, nest)));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kLoops);
  return {};
}

Status prepare(Prepare& prepare) {
  const size_t count = prepare.step.op == "CastLike" ? 1 : prepare.inputs.size();
  const LoopNest nest = HUSSAR_TRY(loop_nest(prepare.inputs.first(count), prepare.outputs[0]));
  return prepare_elementwise(prepare, nest, kLoops, prepare.state_as<ElementwiseLaunch>());
}

Status run(const Run& run) {
  const auto& launch = run.state_as<ElementwiseLaunch>();
  const std::byte* inputs[kNestTensors];
  const auto count = static_cast<size_t>(launch.nest.tensors - 1);
  for (size_t i = 0; i < count; ++i) inputs[i] = run.inputs[i].data;
  return launch_elementwise(run, launch, {inputs, count}, run.outputs[0].data);
}

}  // namespace

extern const Kernel cuda_elementwise_kernel = {.name = "cuda_elementwise",
                                               .place = Place::kDevice,
                                               .state_bytes = sizeof(ElementwiseLaunch),
                                               .prepare = prepare,
                                               .run = run};
extern const Tactic cuda_elementwise_tactic = {.kernel = "cuda_elementwise",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack,
                                               .unpack = unpack};

}  // namespace hussar
