// Products of two activations that the model quantizes, and that are no part of attention, are sums of integers:
//   MatMul(FakeQuantize(a), FakeQuantize(b))  =>  Mul(hussar.IntegerMatMul(QuantizeLinear(a), QuantizeLinear(b)),
//   scales)
// They are exact, as QLinearMatMul has them. On the host, which has a kernel for them; before transposes go into
// products.
#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// What a product reads as bytes.
struct Side {
  Value* bytes = nullptr;  // where the model has them
  Value* real = nullptr;   // else what is to be quantized
  QuantParams params;      // of uint8
};

std::optional<Side> side_of(Value* x) {
  const Value* made = x;
  while (made->producer != nullptr && only_moves(*made->producer)) made = made->producer->inputs[0];
  const Node* producer = made->producer;
  if (producer == nullptr) return std::nullopt;
  if (producer->op == "DequantizeLinear") {
    const auto params = byte_params(*producer);
    if (!params) return std::nullopt;
    return made == x ? Side{producer->inputs[0], nullptr, *params} : Side{nullptr, x, *params};
  }
  const auto params = fake_quantize_params(*producer);
  if (!params) return std::nullopt;
  // Rounding once is enough; what is moved is rounded already, and stays what it is.
  return Side{nullptr, made == x ? producer->inputs[0] : x, *params};
}

Value* zero_point_of(Graph& graph, const Side& side) {
  const DType dtype = side.bytes == nullptr ? DType::kUInt8 : side.bytes->dtype;
  const int32_t moved = dtype == DType::kInt8 ? 128 : 0;
  return add_numbers(graph, "zero_point", dtype, Shape{}, {static_cast<double>(side.params.zero_point - moved)});
}

Value* bytes_of(Graph& graph, const Node& product, const Side& side) {
  if (side.bytes != nullptr) return side.bytes;
  Value* scale =
      add_numbers(graph, side.real->name, DType::kFloat32, Shape{}, {static_cast<double>(side.params.scale)});
  return add_operation(graph, "quantize for " + product.name, "QuantizeLinear",
                       {side.real, scale, zero_point_of(graph, side)}, {}, DType::kUInt8, side.real->dims);
}

bool lower(Graph& graph, Node* node) {
  if (node->op != "MatMul" || node->program || node->output()->dtype != DType::kFloat32 || !node->output()->dims)
    return false;
  for (const Value* input : node->inputs) {
    if (input->is_constant() || !input->dims || input->dims->empty()) return false;
  }
  const Dim& depth = node->inputs[0]->dims->back();
  if (!depth.is_constant() || depth.value() > kQuantizedDepth) return false;
  const auto a = side_of(node->inputs[0]), b = side_of(node->inputs[1]);
  if (!a || !b) return false;
  std::vector<Value*> inputs = {bytes_of(graph, *node, *a), bytes_of(graph, *node, *b), zero_point_of(graph, *a),
                                zero_point_of(graph, *b)};
  Value* sums = add_operation(graph, node->name, "hussar.IntegerMatMul", std::move(inputs), {}, DType::kFloat32,
                              node->output()->dims);
  const float scale = a->params.scale * b->params.scale;
  replace_node(graph, node, "Mul",
               {sums, add_numbers(graph, node->name, DType::kFloat32, Shape{}, {static_cast<double>(scale)})});
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kHost) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return lower(context.graph, node); });
}

}  // namespace

extern const Pass integer_products_pass = {
    .name = "integer_products",
    .summary = "MatMul(FakeQuantize(a), FakeQuantize(b)) => Mul(hussar.IntegerMatMul(a8, b8), scales)",
    .run = run,
    .after = "merge_qkv"};

}  // namespace hussar
