// On a GPU a kernel joins channels-last parts in plain data: they are not converted before.
//   Concat(Reformat(a@nhwc), Reformat(b@nhwc))  =>  Concat(a@nhwc, b@nhwc)
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

bool join(PassContext& context, Node* node) {
  if (node->op != "Concat" || node->program) return false;
  const std::vector<Value*> converted = node->inputs;
  std::vector<Node*> reformats;
  for (const Value* part : converted) {
    Node* reformat = produced_by(part, "hussar.Reformat");
    if (reformat == nullptr || reformat->inputs[0]->layout != Layout::kChannelsLast) return false;
    reformats.push_back(reformat);
  }
  for (size_t i = 0; i < converted.size(); ++i) context.graph.set_input(node, i, reformats[i]->inputs[0]);
  const Problem allowed{*node, context.target};
  const Tactic* tactic = choose(context.restrict ? context.restrict(allowed) : allowed).tactic();
  if (tactic != nullptr && tactic->kernel == "cuda_concat_transposed") {
    for (size_t i = 0; i < reformats.size(); ++i) {
      if (context.graph.use_count(converted[i]) == 0) unlink_unused(context.graph, reformats[i]);
    }
    return true;
  }
  for (size_t i = 0; i < converted.size(); ++i) context.graph.set_input(node, i, converted[i]);
  return false;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return join(context, node); });
}

}  // namespace

extern const Pass join_unconverted_pass = {.name = "join_unconverted",
                                           .summary = "Concat(Reformat(a), Reformat(b)) => Concat(a, b)",
                                           .run = run,
                                           .after = "read_unconverted"};

}  // namespace hussar
