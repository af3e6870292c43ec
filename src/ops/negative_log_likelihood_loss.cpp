// NegativeLogLikelihoodLoss: -weight[target] * x[n][target][d...] for x [N][C][D...] and target [N][D...], per element,
// summed, or averaged by the weights. Targets equal to ignore_index count nothing.
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  std::string reduction = context.attributes.get_string("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    return context.fail("unknown reduction '{}'", reduction);
  const Dims* x = context.dims(0);
  const Dims* target = context.dims(1);
  auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
  if (x != nullptr && x->size() < 2) return context.fail("x has rank {}, at least 2 is needed", x->size());
  if (x != nullptr && target != nullptr) {
    bool fits = target->size() + 1 == x->size() && !differ((*target)[0], (*x)[0]);
    for (size_t i = 1; fits && i < target->size(); ++i) fits = !differ((*target)[i], (*x)[i + 1]);
    if (!fits) return context.fail("targets of shape {} for x of shape {}", to_string(*target), to_string(*x));
  }
  if (context.dims(2) != nullptr && x != nullptr && (context.rank(2) != 1 || differ((*context.dims(2))[0], (*x)[1]))) {
    return context.fail("weights of shape {} for {} classes", to_string(*context.dims(2)), (*x)[1].to_string());
  }
  if (reduction != "none")
    context.set(0, context.dtype(0), {});
  else if (target != nullptr)
    context.set(0, context.dtype(0), *target);
  else
    context.set_unknown(0, context.dtype(0));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  std::string reduction = context.attributes.get_string("reduction", "mean");
  bool ignores = context.attributes.has("ignore_index");
  int64_t ignored = context.attributes.get_int("ignore_index", 0), classes = shape[1];
  int64_t inner = shape.elements(2, shape.rank());
  auto x = context.read<double>(0);
  auto target = context.read<int64_t>(1);
  std::vector<double> weights(static_cast<size_t>(classes), 1), losses(static_cast<size_t>(target.size()), 0);
  if (context.has(2)) load_elements<double>(context.input(2), 0, classes, weights.data());
  double sum = 0, total_weight = 0;
  for (int64_t i = 0; i < target.size(); ++i) {
    if (ignores && target[i] == ignored) continue;
    if (target[i] < 0 || target[i] >= classes) return context.fail("target {} of {} classes", target[i], classes);
    losses[i] = -weights[target[i]] * x[(i / inner * classes + target[i]) * inner + i % inner];
    sum += losses[i];
    total_weight += weights[target[i]];
  }
  auto y = context.write<double>();
  if (reduction == "none")
    std::copy(losses.begin(), losses.end(), y.data());
  else
    y[0] = reduction == "sum" ? sum : sum / total_weight;
  return {};
}

extern const OpDef negative_log_likelihood_loss_op = {
    .name = "NegativeLogLikelihoodLoss", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
