// On a GPU some kernels read any layout: what was converted for them alone is read as it was.
//   x -> Reformat -> Conv   =>  x -> Conv
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

const Tactic* tactic_of(const PassContext& context, const Node& node) {
  const Problem allowed{node, context.target};
  return choose(context.restrict ? context.restrict(allowed) : allowed).tactic();
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->op != "Conv") return false;
    Value* const converted = node->input(0);
    Node* const reformat = produced_by(converted, "hussar.Reformat");
    const Tactic* usual = reformat != nullptr ? tactic_of(context, *node) : nullptr;
    if (usual == nullptr) return false;
    context.graph.set_input(node, 0, reformat->inputs[0]);
    if (tactic_of(context, *node) == usual) {
      unlink_unused(context.graph, reformat);
      return true;
    }
    context.graph.set_input(node, 0, converted);
    return false;
  });
}

}  // namespace

extern const Pass read_unconverted_pass = {
    .name = "read_unconverted", .summary = "x -> Reformat -> Conv => x -> Conv", .run = run, .after = "store_halves"};

}  // namespace hussar
