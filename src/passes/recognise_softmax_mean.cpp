// On a GPU the mean of constants by a softmax is one step, as detectors write it:
//   ReduceSum(Mul(Softmax(x, axis=2), w[16x1]), axes=2)  =>  hussar.SoftmaxMean(x, w[16], axis=2)
// Behind eliminate_transposes, which knows the three operators and not the one.
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Whether a constant, broadcast to `x`, differs along `axis` only, and has all of its elements.
bool lies_along(const Value* constant, const Value* x, int64_t axis) {
  if (constant == nullptr || !constant->is_constant() || constant->dtype != DType::kFloat32) return false;
  const Shape& shape = constant->constant->shape();
  const int64_t place = axis - (x->rank() - shape.rank());
  if (place < 0 || place >= shape.rank() || shape[static_cast<int>(place)] != shape.elements()) return false;
  return static_dim(x, static_cast<int>(axis)) == shape.elements();
}

bool rewrite(Graph& graph, Node* node) {
  if (node->op != "ReduceSum" || node->program) return false;
  const auto axes = reduced_axes(*node);
  Node* product = produced_by(node->input(0), "Mul");
  if (!axes || axes->size() != 1 || product == nullptr || product->program) return false;
  if (only_user(graph, product->output()) != node) return false;
  for (size_t side = 0; side < 2; ++side) {
    Node* softmax = produced_by(product->inputs[side], "Softmax");
    Value* weights = product->inputs[1 - side];
    if (softmax == nullptr || softmax->program || only_user(graph, softmax->output()) != product) continue;
    const auto axis = axis_of(*softmax, -1);
    if (!axis || *axis != (*axes)[0] || softmax->output()->dtype != DType::kFloat32) continue;
    if (!lies_along(weights, softmax->output(), *axis)) continue;
    Value* list = graph.add_constant(graph.unique_name(weights->name),
                                     weights->constant->reshaped({weights->constant->elements()}));
    Attributes attributes;
    attributes.set("axis", int64_t{*axis});
    attributes.set("keepdims", int64_t{keeps_dims(*node) ? 1 : 0});
    replace_node(graph, node, "hussar.SoftmaxMean", {softmax->inputs[0], list}, attributes);
    return true;
  }
  return false;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return rewrite(context.graph, node); });
}

}  // namespace

extern const Pass recognise_softmax_mean_pass = {
    .name = "recognise_softmax_mean",
    .summary = "ReduceSum(Mul(Softmax(x), w), axis) => hussar.SoftmaxMean(x, w)",
    .run = run,
    .after = "eliminate_transposes"};

}  // namespace hussar
