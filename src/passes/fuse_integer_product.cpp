// Products of bytes of which neither side is constant, and whose sums are wanted as real numbers, give these:
//   MatMulInteger(a, b, za, zb) -> Cast<float>  =>  hussar.IntegerMatMul(a, b, za, zb)
// so that what is done with them next (scales, masks) can be fused. Products with weights have other forms already.
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

// Whether a kernel of the target multiplies the integers, to int32 or as what becomes of them here.
bool has_kernel(const Node& product, const Target& target) {
  if (has_own_kernel(Problem{product, target})) return true;
  Graph graph;
  std::vector<Value*> inputs;
  for (const Value* input : product.inputs)
    inputs.push_back(input == nullptr ? nullptr : graph.add_value(input->name, input->dtype, input->dims));
  inputs.resize(4, nullptr);
  Value* sums = graph.add_value("sums", DType::kFloat32, product.output()->dims);
  const Node* node = graph.add_node("hussar.IntegerMatMul", product.name, inputs, {sums}, {});
  return has_own_kernel(Problem{*node, target});
}

bool fuse(Graph& graph, const Target& target, Node* cast) {
  if (cast->op != "Cast" || cast->program || cast->output()->dtype != DType::kFloat32) return false;
  Node* product = produced_by(cast->inputs[0], "MatMulInteger");
  if (product == nullptr || product->program || only_user(graph, product->output()) != cast) return false;
  if (!has_kernel(*product, target)) return false;
  std::vector<Value*> inputs = product->inputs;
  inputs.resize(4, nullptr);
  replace_node(graph, cast, "hussar.IntegerMatMul", std::move(inputs))->name = product->name;
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return fuse(context.graph, context.target, node); });
}

}  // namespace

extern const Pass fuse_integer_product_pass = {
    .name = "fuse_integer_product",
    .summary = "MatMulInteger(a, b) -> Cast<float> => hussar.IntegerMatMul(a, b)",
    .run = run,
    .after = "place_fake_quantize"};

}  // namespace hussar
