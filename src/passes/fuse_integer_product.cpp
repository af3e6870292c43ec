// Products of bytes of which neither side is constant, and whose sums are wanted as real numbers, give these:
//   MatMulInteger(a, b, za, zb) -> Cast<float>  =>  hussar.IntegerMatMul(a, b, za, zb)
// so that what is done with them next (scales, masks) can be fused. Products with weights have other forms already.
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

bool fuse(Graph& graph, const Target& target, Node* cast) {
  if (cast->op != "Cast" || cast->program || cast->output()->dtype != DType::kFloat32) return false;
  Node* product = produced_by(cast->inputs[0], "MatMulInteger");
  if (product == nullptr || product->program || only_user(graph, product->output()) != cast) return false;
  if (!has_own_kernel(Problem{*product, target})) return false;
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
