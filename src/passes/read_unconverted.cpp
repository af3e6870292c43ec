// On a GPU some kernels read any layout: what was converted for them alone is read as it was.
//   x -> Reformat -> Conv          =>  x -> Conv
//   x -> Cast (to halves) -> Conv  =>  x -> Conv
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

const Tactic* tactic_of(const PassContext& context, const Node& node) {
  const Problem allowed{node, context.target};
  return choose(context.restrict ? context.restrict(allowed) : allowed).tactic();
}

Node* conversion_before(Value* value) {
  if (Node* reformat = produced_by(value, "hussar.Reformat")) return reformat;
  Node* cast = produced_by(value, "Cast");
  const bool narrows = cast != nullptr && !cast->program && is_half(value->dtype) && cast->input(0) != nullptr &&
                       cast->input(0)->dtype == DType::kFloat32;
  return narrows ? cast : nullptr;
}

// Takes one conversion away, where the same kernel does without.
bool read_before(PassContext& context, Node* node) {
  Value* const converted = node->input(0);
  Node* const conversion = conversion_before(converted);
  const Tactic* usual = conversion != nullptr ? tactic_of(context, *node) : nullptr;
  if (usual == nullptr) return false;
  context.graph.set_input(node, 0, conversion->inputs[0]);
  if (tactic_of(context, *node) == usual) {
    unlink_unused(context.graph, conversion);
    return true;
  }
  context.graph.set_input(node, 0, converted);
  return false;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->op != "Conv" && node->op != "hussar.ConvToBytes") return false;
    bool reads_before = false;
    while (read_before(context, node)) reads_before = true;
    return reads_before;
  });
}

}  // namespace

extern const Pass read_unconverted_pass = {
    .name = "read_unconverted", .summary = "x -> Reformat -> Conv => x -> Conv", .run = run, .after = "store_halves"};

}  // namespace hussar
