// On Hopper a 3x3 convolution and the 1x1 convolution behind it become one node, so that what lies between them stays
// in shared memory, and the ends of the second one run beside the products of the first:
//   Conv{relu} -> Conv{add x, relu}   =>  hussar.Bottleneck{add x, relu}
#include "graph/bottleneck.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "passes/support/step_times.h"

namespace hussar {
namespace {

// Pixels that give each team of each multiprocessor two jobs or more (device/bottleneck.cuh): with fewer the weights
// that it loads first, and the last jobs, are what takes time.
constexpr double kLeastPixels = 2.0 * 132 * 4 * 56;

bool has_pixels(const Node& node) {
  const auto filter = node.inputs[1]->static_shape();
  return filter && Problem::elements(node.outputs[0]) >= kLeastPixels * static_cast<double>((*filter)[0]);
}

// Kernels for 2:4 weights may be faster.
bool is_dense(const Node& node, const Target& target) {
  return !target.no_sparsity.empty() || shared_columns(node) == 0;
}

// Whether the value only passes from its producer to its user.
bool is_inner(const Graph& graph, const Value* value) {
  return value->slice_of == nullptr && !graph.is_output(value) && value->users.size() == 1;
}

bool fuse(const PassContext& context, Node* second) {
  Graph& graph = context.graph;
  Value* middle = second->input(0);
  Node* first = middle != nullptr ? middle->producer : nullptr;
  if (first == nullptr || second->outputs.size() != 1 || !is_inner(graph, middle)) return false;
  std::optional<Node> fused = bottleneck_of(*first, *second);
  if (!fused) return false;
  fused->outputs = second->outputs;
  if (!is_dense(*first, context.target) || !is_dense(*second, context.target)) return false;
  if (!has_own_kernel(Problem{*fused, context.target})) return false;
  StepTimes apart, together;
  apart.add(*first, context);
  apart.add(*second, context);
  together.add(*fused, context);
  const bool is_measured = apart.measured && together.measured;
  if (!context.eager && !(is_faster(together, apart) && (is_measured || has_pixels(*second)))) {
    add_note(second, describe("fuse_bottleneck", false, together, apart));
    return false;
  }
  std::string notes = first->note;
  if (!second->note.empty()) notes += (notes.empty() ? "" : "\n") + second->note;
  const std::optional<Program> program = fused->program;
  const int32_t program_inputs = fused->program_inputs;
  Node* node = replace_node(graph, second, fused->op, std::move(fused->inputs), std::move(fused->attributes));
  node->name = fused->name;
  node->note = notes;
  node->program = program;
  node->program_inputs = program_inputs;
  if (!context.eager) add_note(node, describe("fuse_bottleneck", true, together, apart));
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice || context.target.sm != 90) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return fuse(context, node); });
}

}  // namespace

extern const Pass fuse_bottleneck_pass = {
    .name = "fuse_bottleneck",
    .summary = "Conv{relu} -> Conv{add x, relu} => hussar.Bottleneck{add x, relu}",
    .run = run,
    // It takes fused nodes of the type and layout that they keep, and leaves a block's merged shortcut alone.
    .after = "merge_shortcut",
    .chooses = true};

}  // namespace hussar
