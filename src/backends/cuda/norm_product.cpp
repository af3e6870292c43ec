// Checks, times and launches of products whose rows are normalized.
#include "backends/cuda/norm_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/sparse_weights.h"
#include "graph/product_norm.h"

namespace hussar::cuda {
namespace {

HopperOperands operands_of(DType dtype, const DenseProduct& product, bool sparse) {
  return {dtype, product.k, sparse, true};
}

const Value& scale_of(const Node& node) { return *node.inputs[own_inputs_of(node) - 1]; }

// Scale and bias are lists of columns, and what is written has the type of the scale, or is bytes.
Refusal check_norm(const Problem& problem) {
  const Node& node = problem.node;
  const size_t own = own_inputs_of(node);
  if (own < 2 + kNormInputs || node.inputs[own - 1] == nullptr) return "inputs";
  for (size_t i = own - kNormInputs; i < own; ++i) {
    if (node.inputs[i] != nullptr && !is_float(node.inputs[i]->dtype)) return "dtype of scale or bias";
  }
  const DType numbers = scale_of(node).dtype;
  const bool to_bytes = node.attributes.has("y_scale");
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == nullptr) continue;
    const DType dtype = node.outputs[i]->dtype;
    if (i == 0 && to_bytes ? !is_quantized(dtype) : dtype != numbers) return "dtype";
  }
  return node.outputs[0] == nullptr ? Refusal("outputs") : std::nullopt;
}

// Of the node's product, with numbers for results.
template <class Result, class Ask>
Result of_product(const Problem& problem, Ask ask) {
  Node product = product_of(problem.node);
  Value numbers;
  numbers.name = problem.output()->name;
  numbers.dtype = scale_of(problem.node).dtype;
  numbers.dims = problem.output()->dims;
  product.outputs = {&numbers};
  return ask(Problem{product, problem.target});
}

constexpr size_t kMostInputs = 8 + kProgramOperands;

// The operands of the product, as EpilogueState counts them: all but bias and scale. Returns how many.
size_t take_product(std::span<const Operand> inputs, size_t own, std::span<Operand, kMostInputs> product) {
  const auto after = std::copy_n(inputs.begin(), own - kNormInputs, product.begin());
  return static_cast<size_t>(std::copy(inputs.begin() + own, inputs.end(), after) - product.begin());
}

// The step that the product would be, as far as kernels look at it to prepare themselves.
PlanStep product_step(const PlanStep& step, size_t own) {
  PlanStep product;
  product.kernel = step.kernel;
  product.op = product_op_of(step.op);
  product.name = step.name;
  product.attributes = step.attributes;
  product.inputs = step.inputs;
  const auto end = product.inputs.begin() + static_cast<std::ptrdiff_t>(own);
  product.inputs.erase(end - kNormInputs, end);
  product.outputs = step.outputs;
  product.program = step.program;
  product.program_inputs = step.program ? step.program_inputs - static_cast<int32_t>(kNormInputs) : 0;
  return product;
}

}  // namespace

Refusal check_normalized(const Problem& problem, bool sparse) {
  if (!is_product_norm(problem.node.op)) return "op";
  if (Refusal refusal = refuse_op(problem, {problem.node.op})) return refusal;
  if (Refusal refusal = check_norm(problem)) return refusal;
  return of_product<Refusal>(problem, [&](const Problem& product) -> Refusal {
    const Refusal of_shapes = check_dense_product(product);
    if (Refusal refusal = sparse ? check_sparse(product, of_shapes) : of_shapes) return refusal;
    if (Refusal refusal = check_hopper(product)) return refusal;
    return can_normalize(dense_product(product.node)->n) ? Refusal()
                                                         : Refusal("rows are of no width that a cluster has");
  });
}

double normalized_cost(const Problem& problem, bool sparse) {
  return std::max(memory_cost(problem), of_product<double>(problem, [&](const Problem& asked) {
                    auto product = dense_product(asked.node);
                    return product ? hopper_time(*product, operands_of(asked.dtype(0), *product, sparse)) : 1e9;
                  }));
}

std::vector<Configuration> normalized_configurations(const Problem& problem, bool sparse) {
  using List = std::vector<Configuration>;
  return of_product<List>(problem, [&](const Problem& asked) {
    auto product = dense_product(asked.node);
    if (!product) return List();
    return hopper_configurations(asked.node, *product, operands_of(asked.dtype(0), *product, sparse),
                                 memory_cost(problem));
  });
}

static Defines norm_defines(const Node& node) {
  const Value* bias = node.inputs[own_inputs_of(node) - kNormInputs];
  const std::string numbers = memory_type(scale_of(node).dtype);
  Defines defines;
  defines.set("NORM_SCALE_TYPE", numbers).set("NORM_NUMBERS_TYPE", numbers);
  defines.set("NORM_BIAS_TYPE", bias != nullptr ? memory_type(bias->dtype) : numbers);
  defines.set("NORM_CENTER", node.attributes.get_int("center", 1) != 0).set("NORM_BIAS", bias != nullptr);
  defines.set("NORM_NUMBERS", node.output(1) != nullptr).set("NORM_PRODUCTS", node.output(2) != nullptr);
  return defines;
}

Status pack_normalized(Packing& packing, bool sparse) {
  const Defines defines = norm_defines(packing.node);
  const AsProduct as_product(packing.node);
  if (!sparse) turn_weights(packing);
  const DenseProduct product = HUSSAR_TRY(dense_product(packing.node));
  const HopperOperands operands = operands_of(packing.node.inputs[0]->dtype, product, sparse);
  return sparse ? pack_hopper_sparse(packing, product, operands, defines)
                : attach_hopper(packing, product, operands, defines);
}

Status unpack_normalized(Packing& packing, bool sparse) {
  const AsProduct as_product(packing.node);
  if (sparse) return unpack_hopper_sparse(packing);
  forget_hopper(packing.node);
  return turn_weights_back(packing);
}

Status prepare_normalized(const Prepare& prepare, bool sparse) {
  NormProduct& state = prepare.state_as<NormProduct>();
  const PlanStep& step = prepare.step;
  state.own = step.program ? static_cast<size_t>(step.program_inputs) : step.inputs.size();
  state.epsilon = step.attributes.get_float("epsilon", 1e-5F);
  HUSSAR_CHECK(state.own >= 2 + kNormInputs && prepare.inputs.size() <= kMostInputs, ErrorCode::kPlanIncompatible,
               "step '{}': {} inputs", step.name, prepare.inputs.size());
  const PlanStep made = product_step(step, state.own);
  std::array<Operand, kMostInputs> inputs;
  const size_t count = take_product(prepare.inputs, state.own, inputs);
  Prepare inner{made, {inputs.data(), count}, prepare.outputs, prepare.threads, prepare.state};
  inner.device = prepare.device;
  inner.code = prepare.code;
  const Operand w = sparse ? HUSSAR_TRY(hopper_sparse_weights(inner)) : inputs[1];
  const Operand& y = prepare.outputs[0];
  const DenseProduct product = HUSSAR_TRY(sparse ? product_as_it_was(made.op, made.attributes, inputs[0], w, y)
                                                 : dense_product(made.op, made.attributes, inputs[0], w, y));
  if (sparse) HUSSAR_TRY(check_alignment(made, product));
  return prepare_hopper_product(inner, product, operands_of(inputs[0].dtype, product, sparse), state.product);
}

Status run_normalized(const Run& run) {
  const NormProduct& state = run.state_as<NormProduct>();
  const HopperProduct& product = state.product;
  if (product.launch.sizes.m == 0) return {};
  std::array<Operand, kMostInputs> inputs;
  Run inner = run;
  inner.inputs = {inputs.data(), take_product(run.inputs, state.own, inputs)};
  auto output = [&](size_t i) { return i < run.outputs.size() ? run.outputs[i].data : nullptr; };
  Words norm;
  norm.put(run.inputs[state.own - 1].data);
  norm.put(run.inputs[state.own - kNormInputs].data);
  norm.put(output(1));
  norm.put(output(2));
  norm.put_float(state.epsilon);
  TensorMap x = HUSSAR_TRY(queue_of(run.device).encode(product.x, inputs[0].data));
  return launch_hopper(inner, product.launch, x, nullptr, norm.data());
}

}  // namespace hussar::cuda
