// Products whose rows are normalized in the same step.
#include "ops/product_norm.h"

#include "ops/normalize.h"
#include "ops/op_def.h"
#include "ops/quantized_product.h"
#include "tensor/convert.h"

namespace hussar {

// What tells the type of the product's numbers, where its operator wants to be told.
static void set_type(Node& product, DType dtype) {
  if (product.op == "hussar.QuantizedMatMul" && is_half(dtype))
    product.attributes.set("y_type", static_cast<int64_t>(dtype));
}

Status infer_product_norm(InferContext& context) {
  const size_t own = context.input_count();
  if (own < 2 + kNormInputs) return context.fail("takes a product's operands, bias and scale");
  const size_t scale = own - 1;
  std::vector<ValueInfo> infos;
  for (size_t i = 0; i < own - kNormInputs; ++i) infos.push_back(context.info(i));
  auto product = infer_node(
      product_of(context.node), std::move(infos), [&] { return context.fresh(); }, nullptr);
  if (!product) return tl::unexpected(product.error());
  const DType numbers = context.dtype(scale);
  if (numbers != DType::kFloat32 && !is_half(numbers)) return context.fail("takes a scale of floats");
  DType first = numbers;
  if (context.attributes.has("y_scale")) first = HUSSAR_TRY(check_byte_meanings(context));
  const std::optional<Dims>& dims = product->front().dims;
  for (size_t i = own - kNormInputs; i < own; ++i) {
    const Dims* given = context.dims(i);
    if (given == nullptr || !dims || dims->empty()) continue;
    if (given->size() != 1 || !(given->front() == dims->back()))
      return context.fail("input {} of shape {} for rows of {}", i, to_string(*given), dims->back().to_string());
  }
  for (size_t i = 0; i < context.output_count(); ++i) {
    const DType dtype = i == 0 ? first : numbers;
    if (dims)
      context.set(i, dtype, *dims);
    else
      context.set_unknown(i, dtype);
  }
  return {};
}

Status evaluate_product_norm(EvalContext& context) {
  const Node product = product_of(context.node);
  const std::span<const Tensor> all = context.inputs();
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(own_inputs_of(context.node));
  std::vector<Tensor> inputs(all.begin(), end - kNormInputs);
  inputs.insert(inputs.end(), end, all.end());
  const std::vector<Tensor> products = HUSSAR_TRY(evaluate_node(product, inputs, context.workspace()));
  const size_t scale = own_inputs_of(context.node) - 1;
  const Tensor given[] = {products[0], context.input(scale), context.input(scale - 1)};
  Tensor real(DType::kFloat32, products[0].shape());
  EvalContext normalization(context.node, given, {&real, 1}, context.evaluation());
  HUSSAR_TRY(normalize_trailing(normalization, context.attributes.get_int("center", 1) != 0));
  auto store = [&](size_t output, const Tensor& numbers) {
    if (output >= context.output_count() || !context.wants(output)) return;
    const Tensor wide = converted(numbers, DType::kFloat32);
    store_elements<float>(context.output(output), 0, wide.elements(), wide.data<float>());
  };
  store(1, real);
  store(2, products[0]);
  if (context.attributes.has("y_scale"))
    store_bytes(context.attributes, {real.data<float>(), static_cast<size_t>(real.elements())}, context.output());
  else
    store(0, real);
  return {};
}

double product_norm_flops(const Node& node) {
  const Node product = product_of(node);
  const OpDef* op = find_op(product.op);
  return op->flops(product);
}

void split_product_norm(Graph& graph, Node* node) {
  const size_t scale = own_inputs_of(*node) - 1;
  Value* const y = node->outputs[0];
  const DType numbers = node->inputs[scale]->dtype;
  Value* product_value = node->output(2);
  if (product_value == nullptr) product_value = graph.add_value(graph.unique_name(y->name), numbers, y->dims);
  Node made = product_of(*node);
  set_type(made, numbers);
  Attributes attributes;
  for (const char* name : kOfNorm) {
    const auto found = node->attributes.all().find(name);
    if (found != node->attributes.all().end()) attributes.set(name, found->second);
  }
  const bool to_bytes = node->attributes.has("y_scale");
  std::vector<Value*> inputs = {product_value, node->inputs[scale]};
  if (node->inputs[scale - 1] != nullptr) inputs.push_back(node->inputs[scale - 1]);
  std::vector<Value*> outputs = {y};
  if (to_bytes && node->output(1) != nullptr) outputs.push_back(node->outputs[1]);
  const bool centers = node->attributes.get_int("center", 1) != 0;
  if (!to_bytes) attributes.erase("center");
  const std::string name = node->name, note = node->note;
  graph.remove(node);
  Node* product = graph.add_node(made.op, name, made.inputs, {product_value}, made.attributes);
  product->program = made.program;
  product->program_inputs = made.program_inputs;
  product->note = note;
  graph.add_node(to_bytes  ? "hussar.NormToBytes"
                 : centers ? "LayerNormalization"
                           : "RMSNormalization",
                 name, inputs, outputs, std::move(attributes));
}

}  // namespace hussar
