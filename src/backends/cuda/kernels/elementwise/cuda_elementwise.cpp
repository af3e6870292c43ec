// cuda_elementwise: operators that work element by element, and fused chains of them, with any broadcasting.
#include <fmt/format.h>

#include <cctype>
#include <functional>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"

namespace hussar {
namespace {

using namespace cuda;

// What an operator makes of x0, x1, ... in the type that it computes in: float, or long long for integers. p and q are
// its attributes.
struct Parameter {
  std::string_view attribute;
  float otherwise;
};
struct Expression {
  std::string_view op, floats, integers;  // empty: not of these
  Parameter p = {}, q = {};
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
    {"BitwiseAnd", "", "x0 & x1"},
    {"BitwiseOr", "", "x0 | x1"},
    {"BitwiseXor", "", "x0 ^ x1"},
    {"BitwiseNot", "", "~x0"},
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
    // Fused programs have these, too, for FP32.
    {"Relu", "f_max(x0, 0.0f)", "x0 > 0 ? x0 : 0"},
    {"LeakyRelu", "x0 < 0.0f ? p * x0 : x0", "", {"alpha", 0.01F}},
    {"Elu", "x0 < 0.0f ? p * expm1f(x0) : x0", "", {"alpha", 1}},
    {"PRelu", "x0 < 0.0f ? x0 * x1 : x0", "x0 < 0 ? x0 * x1 : x0"},
    {"Shrink", "x0 < -p ? x0 + q : x0 > p ? x0 - q : 0.0f", "", {"lambd", 0.5F}, {"bias", 0}},
    {"Celu", "x0 < 0.0f ? p * expm1f(x0 / p) : x0", "", {"alpha", 1}},
    {"Selu", "q * (x0 > 0.0f ? x0 : p * expm1f(x0))", "", {"alpha", 1.67326319F}, {"gamma", 1.05070102F}},
    {"HardSigmoid", "f_clip(p * x0 + q, 0.0f, 1.0f)", "", {"alpha", 0.2F}, {"beta", 0.5F}},
    {"HardSwish", "x0 * f_clip(x0 * 0.16666667f + 0.5f, 0.0f, 1.0f)", ""},
    {"Sigmoid", "f_sigmoid(x0)", ""},
    {"Swish", "x0 * f_sigmoid(p * x0)", "", {"alpha", 1}},
    {"Tanh", "tanhf(x0)", ""},
    {"Erf", "erff(x0)", ""},
    {"Exp", "expf(x0)", ""},
    {"Log", "logf(x0)", ""},
    {"Sqrt", "sqrtf(x0)", ""},
    {"Reciprocal", "1.0f / x0", ""},
    {"Floor", "floorf(x0)", ""},
    {"Ceil", "ceilf(x0)", ""},
    {"Round", "rintf(x0)", ""},
    {"Softplus", "f_softplus(x0)", ""},
    {"Softsign", "x0 / (1.0f + fabsf(x0))", ""},
    {"Mish", "x0 * tanhf(f_softplus(x0))", ""},
    {"ThresholdedRelu", "x0 > p ? x0 : 0.0f", "", {"alpha", 1}},
};

const Expression* find_expression(std::string_view op) {
  for (const Expression& expression : kExpressions) {
    if (expression.op == op) return &expression;
  }
  return nullptr;
}

// The inputs that are read, by number: all that there are.
std::vector<size_t> inputs_of(std::string_view op, size_t count, const std::function<bool(size_t)>& is_there) {
  std::vector<size_t> numbers;
  for (size_t i = 0; i < (op == "CastLike" ? 1 : count); ++i) {
    if (is_there(i)) numbers.push_back(i);
  }
  return numbers;
}
std::vector<size_t> inputs_of(const Node& node) {
  return inputs_of(node.op, node.inputs.size(), [&](size_t i) { return node.inputs[i] != nullptr; });
}

// f(f(x0, x1), x2) and so on.
std::string folded(std::string_view function, size_t count) {
  std::string text = "x0";
  for (size_t i = 1; i < count; ++i) text = fmt::format(fmt::runtime(function), text, fmt::format("x{}", i));
  return text;
}

std::string clip_of(const Node& node, bool floats) {
  std::string text = "x0";
  const std::string_view low = floats ? "f_max({}, x1)" : "i_max({}, x1)";
  const std::string_view high = floats ? "f_min({}, x2)" : "i_min({}, x2)";
  if (node.input(1) != nullptr) text = fmt::format(fmt::runtime(low), text);
  if (node.input(2) != nullptr) text = fmt::format(fmt::runtime(high), text);
  return text;
}

bool is_quantizing(std::string_view op) { return op == "QuantizeLinear" || op == "DequantizeLinear"; }

// What Q and DQ do; inputs 1 and 2 are the scale and, where there is one, the zero point.
std::string quantizing(const Node& node) {
  const bool is_shifted = node.input(2) != nullptr;
  if (node.op == "DequantizeLinear") return fmt::format("static_cast<float>(x0{}) * x1", is_shifted ? " - x2" : "");
  const DType to = node.outputs[0]->dtype;
  if (to == kFp8) return is_shifted ? "x0 / x1 + x2" : "x0 / x1";
  const int bits = static_cast<int>(8 * dtype_size(to));
  const bool has_sign = to == DType::kInt8 || to == DType::kInt16;
  const int64_t low = has_sign ? -(int64_t{1} << (bits - 1)) : 0, high = low + (int64_t{1} << bits) - 1;
  // What is far outside is so with any zero point, and fits an integer.
  return fmt::format("i_min(i_max(static_cast<long long>(f_clip(rintf(x0 / x1), -1e9f, 1e9f)){}, {}LL), {}LL)",
                     is_shifted ? " + x2" : "", low, high);
}

// Operators whose expression depends on their attributes or on how many inputs there are.
std::string other_expression(const Node& node, bool floats) {
  const Attributes& attributes = node.attributes;
  const size_t count = node.inputs.size();
  if (node.op == "Cast" || node.op == "CastLike") return node.outputs[0]->dtype == DType::kBool ? "x0 != 0" : "x0";
  if (node.op == "Where") return "x0 ? x1 : x2";
  if (node.op == "Clip") return clip_of(node, floats);
  if (is_quantizing(node.op)) return quantizing(node);
  if (node.op == "Max") return folded(floats ? "f_max({}, {})" : "i_max({}, {})", count);
  if (node.op == "Min") return folded(floats ? "f_min({}, {})" : "i_min({}, {})", count);
  if (node.op == "Gelu" && floats) {
    return attributes.get_string("approximate", "none") == "tanh" ? "f_gelu_tanh(x0)" : "f_gelu_erf(x0)";
  }
  if (node.op == "Mod") {
    const bool truncates = attributes.get_int("fmod", 0) != 0;
    return fmt::format("{}_{}(x0, x1)", floats ? "f" : "i", truncates ? "remainder" : "mod");
  }
  if (node.op == "IsInf" && floats) {
    return fmt::format("({} && x0 > 3.40282347e38f) || ({} && x0 < -3.40282347e38f)",
                       attributes.get_int("detect_positive", 1) != 0 ? "true" : "false",
                       attributes.get_int("detect_negative", 1) != 0 ? "true" : "false");
  }
  if (node.op == "BitShift" && !floats) {
    return attributes.get_string("direction", "") == "LEFT"
               ? "x1 < 64 ? static_cast<long long>(static_cast<unsigned long long>(x0) << x1) : 0"
               : "x1 < 64 ? x0 >> x1 : 0";
  }
  return {};
}

// For each of VECTOR neighbours; empty: not this operator.
std::string expression_of(const Node& node) {
  const bool floats = is_float(node.inputs[0]->dtype);
  const Expression* expression = find_expression(node.op);
  if (expression == nullptr) return other_expression(node, floats);
  std::string text(floats ? expression->floats : expression->integers);
  for (auto [name, parameter] : {std::pair('p', &expression->p), std::pair('q', &expression->q)}) {
    if (parameter->attribute.empty()) continue;
    const std::string value = literal(node.attributes.get_float(parameter->attribute, parameter->otherwise));
    // Letters of their own.
    auto is_word = [&](size_t at) { return at < text.size() && (std::isalnum(text[at]) != 0 || text[at] == '_'); };
    for (size_t at = 0; at < text.size(); ++at) {
      const bool is_alone = text[at] == name && !is_word(at + 1) && (at == 0 || !is_word(at - 1));
      if (!is_alone) continue;
      text.replace(at, 1, value);
      at += value.size();
    }
  }
  return text;
}

constexpr std::string_view kOthers[] = {"Cast",  "CastLike", "Where",          "Clip",
                                        "Max",   "Min",      "Gelu",           "Mod",
                                        "IsInf", "BitShift", "QuantizeLinear", "DequantizeLinear"};

// One scale, or one per index of an axis, for FP8 and integers of up to 16 bits.
Refusal refuse_quantizing(const Node& node) {
  const Value& integers = node.op == "QuantizeLinear" ? *node.outputs[0] : *node.inputs[0];
  const Value& floats = node.op == "QuantizeLinear" ? *node.inputs[0] : *node.outputs[0];
  const bool is_fp8 = integers.dtype == kFp8 && node.attributes.get_int("saturate", 1) != 0;
  const bool is_integer = dtype_size(integers.dtype) <= 2 && !is_floating(integers.dtype);
  const bool fits = (is_fp8 || is_integer) && is_float(floats.dtype);
  if (!fits || node.inputs[1]->dtype != DType::kFloat32) return "dtype";
  if (node.attributes.get_int("block_size", 0) != 0 || node.inputs[1]->rank() > 1) return "blocks";
  if (node.input(2) != nullptr && node.inputs[2]->rank() > 1) return "blocks";
  return std::nullopt;
}

// The scales and zero points of an axis lie along it.
Operand along_axis(std::string_view op, const Attributes& attributes, size_t index, Operand operand, int rank) {
  if (!is_quantizing(op) || index == 0 || operand.shape.rank() != 1 || rank == 0) return operand;
  const int64_t given = attributes.get_int("axis", 1), axis = given < 0 ? given + rank : given;
  const int64_t length = operand.shape[0];
  operand.shape = Shape{};
  for (int i = 0; i < rank; ++i) operand.shape.push_back(i == axis ? length : 1);
  return operand;
}

Result<LoopNest> nest_of(const Node& node) {
  std::vector<Operand> inputs;
  for (size_t i : inputs_of(node)) {
    inputs.push_back(along_axis(node.op, node.attributes, i, operand_of(*node.inputs[i]), node.outputs[0]->rank()));
  }
  return loop_nest(inputs, operand_of(*node.outputs[0]));
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  const bool is_program = node.op == "hussar.Pointwise";
  const bool is_other = std::find(std::begin(kOthers), std::end(kOthers), node.op) != std::end(kOthers);
  if (!is_program && !is_other && find_expression(node.op) == nullptr) return "op";
  if (!is_program && node.program) return "fused program";
  if (Refusal refusal = refuse_op(problem, {node.op})) return refusal;
  if (node.inputs.empty() || node.inputs.size() + 1 > kNestTensors) return "number of inputs";
  const Value& output = *problem.output();
  if (node.inputs[0] == nullptr) return "number of inputs";
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  const bool may_be_fp8 = is_program || is_quantizing(node.op);
  auto is_known = [&](DType dtype) { return !memory_type(dtype).empty() || (may_be_fp8 && dtype == kFp8); };
  for (size_t i : inputs_of(node)) {
    const Value* input = node.inputs[i];
    if (!is_known(input->dtype)) return "dtype";
    const bool is_number = is_float(input->dtype) ||
                           (is_quantized(input->dtype) &&
                            node.attributes.has(i == 0 && node.program_inputs > 0 ? "x_scale" : "operand_scale"));
    if (is_program && !is_number) return "dtype";
    // A constant of one axis is the same in both layouts.
    if (input->layout != output.layout && !input->is_constant()) return "mixed layouts";
  }
  if (!is_known(output.dtype)) return "dtype";
  if (is_program && !is_float(output.dtype) && !node.attributes.has("y_scale")) return "dtype";
  if (is_quantizing(node.op)) {
    if (Refusal refusal = refuse_quantizing(node)) return refusal;
  }
  if (!is_program && expression_of(node).empty()) return "dtype";
  if (!nest_of(node)) return "dimensions that may be 1";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

// A slice of channels must begin at a multiple, too.
int vector_of(const Node& node, const LoopNest& nest) {
  int vector = nest.vector();
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const Value* value : *list) {
      while (value != nullptr && offset_in_holder(*value) % vector != 0) vector /= 2;
    }
  }
  return vector;
}

std::string compute_source(const Node& node, const LoopNest& nest) {
  std::string text =
      "__device__ __forceinline__ void compute(const Elementwise& work, const long long "
      "(&offsets)[INPUTS], COMPUTE_TYPE (&value)[VECTOR]) {\n";
  const std::vector<size_t> inputs = inputs_of(node);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DType dtype = node.inputs[inputs[i]]->dtype;
    const bool moves = nest.strides[i + 1][nest.rank - 1] != 0;
    text += fmt::format("  {0} v{1}[VECTOR];\n  {2}(static_cast<const {3}*>(work.inputs[{4}]) + offsets[{4}], v{1});\n",
                        node.program || dtype == kFp8 ? "float" : register_type(dtype), inputs[i],
                        moves ? "load" : "broadcast", number_type(dtype), i);
  }
  text += "#pragma unroll\n  for (int i = 0; i < VECTOR; ++i) {\n";
  if (node.program) {
    const auto own = static_cast<size_t>(node.program_inputs);
    const auto number = [&](size_t i, std::string_view what) {
      const std::string value = fmt::format("v{}[i]", i);
      return is_quantized(node.inputs[i]->dtype) ? real_source(node.attributes, what, value) : value;
    };
    text += fmt::format("    value[i] = run_program({}", own > 0 ? number(0, "x") : "0.0f");
    for (size_t i = own; i < inputs.size(); ++i) text += ", " + number(i, "operand");
    text += ");\n";
  } else {
    for (size_t i : inputs) text += fmt::format("    const auto x{0} = v{0}[i];\n", i);
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
  defines.set("OUTPUT_TYPE", result_type(node));
  const DType computed = node.outputs[0]->dtype;
  defines.set("COMPUTE_TYPE", node.program || computed == kFp8 ? "float" : register_type(computed));
  define_results(node, false, defines);
  const std::string program = node.program ? program_source(*node.program) : std::string();
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh", "elementwise.cuh"},
                                       program + compute_source(node, nest)));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kLoops);
  return {};
}

Status prepare(Prepare& prepare) {
  std::vector<Operand> inputs;
  auto is_there = [&](size_t i) { return prepare.inputs[i].present(); };
  for (size_t i : inputs_of(prepare.step.op, prepare.inputs.size(), is_there)) {
    const int rank = prepare.outputs[0].shape.rank();
    inputs.push_back(along_axis(prepare.step.op, prepare.step.attributes, i, prepare.inputs[i], rank));
  }
  const LoopNest nest = HUSSAR_TRY(loop_nest(inputs, prepare.outputs[0]));
  return prepare_elementwise(prepare, nest, kLoops, prepare.state_as<ElementwiseLaunch>());
}

Status run(const Run& run) {
  const auto& launch = run.state_as<ElementwiseLaunch>();
  const std::byte* inputs[kNestTensors];
  const auto count = static_cast<size_t>(launch.nest.tensors - 1);
  for (size_t i = 0, found = 0; found < count; ++i) {
    if (run.inputs[i].present()) inputs[found++] = run.inputs[i].data;
  }
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
