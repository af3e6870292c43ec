// On a GPU of Hopper the product that makes queries, keys and values and the attention that alone reads them are one
// step, where sequences are short and there are enough of them:
//   Attention(q, k, v of MatMul(x, w))  =>  hussar.ProjectedAttention(x, w)
// A tile of the product is then what one head of one sequence attends to. At the end, when products have their types
// and biases. For other targets a plan's step is expanded again.
#include <fmt/format.h>

#include <algorithm>

#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"
#include "tensor/projected_attention.h"

namespace hussar {
namespace {

using namespace projected;

// Shorter sequences leave more than half of a tile empty.
constexpr int64_t kLeastRows = 65;

// Whether the attention reads all three from one product, and nobody else does.
bool reads_one_product(const Graph& graph, const Node& attention) {
  if (attention.inputs.size() < 3) return false;
  const Value* rows = attention.inputs[0];
  const auto& users = rows->users;
  return attention.inputs[1] == rows && attention.inputs[2] == rows && rows->producer != nullptr &&
         !graph.is_output(rows) && rows->slice_of == nullptr &&
         std::all_of(users.begin(), users.end(), [&](const Node* user) { return user == &attention; });
}

double time_of(const Node& node, const PassContext& context) {
  const Problem problem{node, context.target};
  return least_time(context.restrict ? context.restrict(problem) : problem);
}

// Whether the product does nothing to its sums but to add a list of as many numbers as there are columns.
bool adds_bias_only(const Node& product) {
  if (!product.program || product.program_inputs != 2 || product.inputs.size() != 3) return false;
  const Program& program = *product.program;
  const ProgramStep& step = program.steps[0];
  const bool adds = program.step_count == 1 && program.operand_count == 1 && step.op == ProgramOp::kAdd &&
                    step.dst == 0 && step.a == 0 && step.source == ProgramSource::kOperand && step.b == 0;
  const Value *bias = product.inputs[2], *y = product.output();
  return adds && bias != nullptr && bias->rank() == 1 && y->rank() > 0 && (*bias->dims)[0] == y->dims->back();
}

// One node for both, with the attention's outputs; nullopt: there is none.
std::optional<Node> joined(const Node& product, const Node& attention) {
  const bool of_bytes = product.op == "hussar.QuantizedMatMul", on_bytes = attention.op == "hussar.QuantizedAttention";
  if (!of_bytes && product.op != "MatMul") return std::nullopt;
  if (attention.program || (product.program && (of_bytes || !adds_bias_only(product)))) return std::nullopt;
  const size_t mask = on_bytes ? 6 : 3;
  // Where sequences start is not known before.
  if (attention.input(mask + 1) != nullptr || product.inputs.size() > kMask) return std::nullopt;
  Node node;
  node.op = of_bytes ? kQuantizedProjectedAttention : kProjectedAttention;
  node.name = product.name + "+" + attention.name;
  node.inputs = product.inputs;
  node.inputs.resize(kInputs, nullptr);
  node.inputs[kMask] = attention.input(mask);
  for (size_t i = 0; on_bytes && i < 3; ++i) node.inputs[kQScale + i] = attention.inputs[3 + i];
  while (node.inputs.back() == nullptr) node.inputs.pop_back();
  node.outputs = attention.outputs;
  node.attributes = attention.attributes;
  for (const auto& [name, value] : product.attributes.all()) node.attributes.set(std::string(kOfProduct) + name, value);
  node.attributes.set(kAttention, attention.op);
  node.attributes.set(kParts, Strings{product.name, attention.name});
  return node;
}

bool fuse(const PassContext& context, Node* attention) {
  Graph& graph = context.graph;
  if (attention->op != "hussar.Attention" && attention->op != "hussar.QuantizedAttention") return false;
  if (!reads_one_product(graph, *attention)) return false;
  Node* product = attention->inputs[0]->producer;
  if (product->outputs.size() != 1 || static_dim(product->output(), 1) < kLeastRows) return false;
  // Weights of which two of four are zero have kernels of their own, and half the bytes in a plan.
  if (context.target.no_sparsity.empty() && shared_columns(*product) > 0) return false;
  std::optional<Node> form = joined(*product, *attention);
  if (!form) return false;
  const double together = time_of(*form, context);
  const double apart = time_of(*product, context) + time_of(*attention, context);
  if (!(together < apart)) return false;
  std::string note = fmt::format("fuse_projected_attention: predicted {:.1f} us (apart {:.1f} us)", together, apart);
  for (const Node* part : {product, attention}) note += (part->note.empty() ? "" : "\n") + part->note;
  Node* node = replace_node(graph, attention, form->op, std::move(form->inputs), std::move(form->attributes));
  node->name = form->name;
  node->note = std::move(note);
  return true;
}

Result<int> run(PassContext& context) {
  // Rows of padding, where they are left out, are none of any sequence's tile. A library has the product alone.
  const Target& target = context.target;
  if (target.place != Place::kDevice || target.sm != 90 || target.only_libraries || context.packed) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return fuse(context, node); });
}

}  // namespace

extern const Pass fuse_projected_attention_pass = {
    .name = "fuse_projected_attention",
    .summary = "Attention(MatMul(x, w)) => hussar.ProjectedAttention(x, w)",
    .run = run,
    .after = "fuse_embedding_norm"};

}  // namespace hussar
