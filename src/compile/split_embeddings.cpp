#include "compile/split_embeddings.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "ops/builder.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "passes/support/program_builder.h"
#include "passes/support/rewrite.h"

namespace hussar {

// Add(Add(a, b), c) => hussar.Pointwise{add b, add c}, where one of them is as large as the sum.
static void join_sum(Graph& graph, Node* last, const std::set<const Node*>& others) {
  std::vector<Value*> terms = {last->inputs[1]};
  Value* rest = last->inputs[0];
  for (Node* add = produced_by(rest, "Add"); add != nullptr && !others.contains(add); add = produced_by(rest, "Add")) {
    terms.push_back(add->inputs[1]);
    rest = add->inputs[0];
  }
  terms.push_back(rest);
  std::reverse(terms.begin(), terms.end());
  const auto main =
      std::find_if(terms.begin(), terms.end(), [&](const Value* term) { return term->dims == last->output()->dims; });
  if (main == terms.end()) return;
  ProgramDraft draft;
  for (auto term = terms.begin(); term != terms.end(); ++term) {
    if (term == main) continue;
    const int operand = draft.operand(*term);
    ProgramStep step{};
    step.op = ProgramOp::kAdd;
    step.source = ProgramSource::kOperand;
    step.b = static_cast<uint8_t>(operand);
    if (operand < 0 || !draft.add(step)) return;
  }
  std::vector<Value*> inputs = {*main};
  inputs.insert(inputs.end(), draft.operands.begin(), draft.operands.end());
  Node* sum = replace_node(graph, last, std::string(kPointwise), std::move(inputs));
  sum->program = draft.program;
  sum->program_inputs = 1;
}

Status split_embeddings(Graph& graph) {
  std::set<const Node*> others;
  std::vector<Node*> found;
  for (Node* node : graph.snapshot()) {
    if (node->op == "hussar.EmbeddingNorm")
      found.push_back(node);
    else
      others.insert(node);
  }
  if (found.empty()) return {};
  for (Node* node : found) HUSSAR_TRY(expand_node(graph, node));
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  for (Node* node : graph.snapshot()) {
    if (node->op != "Add" || others.contains(node) || !node->output()->dims) continue;
    const auto& users = node->output()->users;
    const bool is_last = std::none_of(users.begin(), users.end(),
                                      [&](const Node* user) { return user->op == "Add" && !others.contains(user); });
    if (is_last) join_sum(graph, node, others);
  }
  graph.sweep();
  return {};
}

}  // namespace hussar
