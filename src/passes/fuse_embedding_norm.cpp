// On a GPU what a language model begins with is one step: rows of tables, their sum, its order where padding is left
// out, and its normalization with what that rounds to.
//   LayerNormalization(Gather(words, ids) + Gather(types, kinds) + places)
//     =>  hussar.EmbeddingNorm(-, scale, bias, -, words, -, ids, types, -, kinds, places, -, -)
// At the end, when tables and results have the types that they keep. For other targets a plan's step is expanded again.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "passes/support/smoothable.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

constexpr size_t kMostTerms = 4, kMostRowAxes = 2;

// Whether the norm's results are those that the step gives.
bool is_norm(const Node& node) {
  if (node.program) return false;
  if (is_normalization(node)) return node.outputs.size() == 1;
  return node.op == "hussar.NormToBytes" || node.op == "hussar.NormToRows";
}

// Whether the program adds its operands, one after the other, and nothing else.
bool adds_only(const Node& node) {
  const Program& program = *node.program;
  if (node.program_inputs != 1 || node.inputs.size() != 1 + size_t{program.operand_count}) return false;
  if (program.step_count != program.operand_count || node.attributes.has("y_scale")) return false;
  for (int i = 0; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    const bool adds = step.op == ProgramOp::kAdd && step.dst == 0 && step.a == 0 &&
                      step.source == ProgramSource::kOperand && step.b == i;
    if (!adds) return false;
  }
  return true;
}

// The values that `value` is the sum of, where nobody else reads what is in between.
void find_terms(const Graph& graph, Value* value, const Node* user, std::vector<Value*>& terms) {
  Node* node = value->producer;
  if (node == nullptr || only_user(graph, value) != user || value->is_constant()) {
    terms.push_back(value);
  } else if (node->op == "Add" && !node->program) {
    for (Value* input : node->inputs) find_terms(graph, input, node, terms);
  } else if (node->op == kPointwise && node->program && adds_only(*node)) {
    for (Value* input : node->inputs) find_terms(graph, input, node, terms);
  } else {
    terms.push_back(value);
  }
}

// The three inputs for a term: table, scales, indices.
std::vector<Value*> inputs_for(const Graph& graph, Value* term, DType dtype, const Dim& length) {
  if (!term->dims || term->dtype != dtype || term->layout != Layout::kPlain || term->rank() < 1 ||
      !(term->dims->back() == length))
    return {};
  const Node* gather = term->producer;
  const bool of_bytes = gather != nullptr && gather->op == "hussar.GatherBytes";
  const bool is_gather = of_bytes || (gather != nullptr && gather->op == "Gather" && axis_of(*gather, 0) == 0);
  if (!is_gather || gather->program || graph.use_count(term) != 1) return {term, nullptr, nullptr};
  Value *table = gather->inputs[0], *indices = gather->inputs[of_bytes ? 2 : 1];
  const bool is_table = table->is_constant() && table->rank() == 2 && table->constant->elements() > 0 &&
                        indices->layout == Layout::kPlain &&
                        (indices->dtype == DType::kInt64 || indices->dtype == DType::kInt32);
  if (!is_table) return {term, nullptr, nullptr};
  return {table, of_bytes ? gather->inputs[1] : nullptr, indices};
}

bool rewrite(Graph& graph, Node* norm, const Target& target) {
  if (!is_norm(*norm)) return false;
  Value* x = norm->inputs[0];
  Value* order = nullptr;
  Node* user = norm;
  if (Node* rows = produced_by(x, "hussar.GatherRows"); rows != nullptr && only_user(graph, x) == norm) {
    order = rows->inputs[1];
    x = rows->inputs[0];
    user = rows;
  }
  if (!x->dims || x->rank() < 1 || x->dims->size() > kMostRowAxes + 1 || !x->dims->back().is_constant()) return false;
  if (axis_of(*norm, -1) != norm->inputs[0]->rank() - 1 || only_user(graph, x) != user) return false;
  std::vector<Value*> terms;
  find_terms(graph, x, user, terms);
  if (terms.size() > kMostTerms) return false;
  std::vector<Value*> inputs = {order, norm->input(1), norm->input(2), norm->input(3)};
  bool has_table = false;
  for (Value* term : terms) {
    const std::vector<Value*> list = inputs_for(graph, term, x->dtype, x->dims->back());
    if (list.empty()) return false;
    has_table = has_table || list[2] != nullptr;
    inputs.insert(inputs.end(), list.begin(), list.end());
  }
  if (!has_table || norm->input(1) == nullptr || norm->inputs[1]->dtype != x->dtype) return false;
  if (!has_own_kernel(Problem{*norm, target})) return false;
  Attributes attributes = norm->attributes;
  attributes.set("norm", norm->op);
  replace_node(graph, norm, "hussar.EmbeddingNorm", std::move(inputs), std::move(attributes));
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return rewrite(context.graph, node, context.target); });
}

}  // namespace

extern const Pass fuse_embedding_norm_pass = {
    .name = "fuse_embedding_norm",
    .summary = "LayerNormalization(Gather(a, i) + Gather(b, j)) => hussar.EmbeddingNorm(a, i, b, j)",
    .run = run,
    .after = "fuse_inverted_residual"};

}  // namespace hussar
