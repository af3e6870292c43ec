// LayerNormalization and RMSNormalization over trailing axes from their formulas, then the scale and bias that follow.
#include <cmath>

#include "passes/pass.h"
#include "passes/support/pattern.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// The mean of x over axes [first, rank), dims kept.
bool is_trailing_mean(const Node& node) {
  auto axes = reduced_axes(node);
  if (!keeps_dims(node) || !axes || axes->empty()) return false;
  for (size_t i = 0; i < axes->size(); ++i) {
    if ((*axes)[i] != node.input(0)->rank() - static_cast<int64_t>(axes->size() - i)) return false;
  }
  return true;
}

Pattern mean_of(const std::string& name, const Pattern& x) {
  return named(name, op("ReduceMean", {x, constant(name + "_axes")}, is_trailing_mean));
}

// sqrt(variance + epsilon) and its inverse, in the ways they are written.
Pattern deviation_of(const Pattern& variance) { return op("Sqrt", {sum({variance, number("epsilon")})}); }

Pattern inverse_deviation(const Pattern& variance) {
  Pattern deviation = deviation_of(variance);
  Pattern inverse_power = op("Pow", {sum({variance, number("epsilon")}), -0.5});
  return either({op("Reciprocal", {deviation}), op("Div", {1.0, deviation}), inverse_power});
}

// numerator / sqrt(variance + epsilon).
Pattern normalised(const Pattern& numerator, const Pattern& variance) {
  Pattern deviation = deviation_of(variance);
  Pattern half_power = op("Pow", {sum({variance, number("epsilon")}), 0.5});
  Pattern inverse = inverse_deviation(variance);
  return either({op("Div", {numerator, deviation}), op("Div", {numerator, half_power}), product({numerator, inverse}),
                 product({numerator, inverse, constant("scale")})});
}

const Pattern& layer_norm() {
  static const Pattern x = any("x");
  static const Pattern centred = op("Sub", {x, mean_of("mean", x)});
  static const Pattern pattern = normalised(centred, mean_of("variance", product({centred, centred})));
  return pattern;
}

// E[x^2] - E[x]^2 for the variance; its clamp at 0 is against rounding, which the two-pass form does not need.
const Pattern& layer_norm_by_squares() {
  static const Pattern x = any("x");
  static const Pattern mean = mean_of("mean", x);
  static const Pattern difference = op("Sub", {mean_of("variance", product({x, x})), product({mean, mean})});
  static const Pattern variance = either({op("Max", {difference, 0.0}), op("Relu", {difference}), difference});
  static const Pattern pattern = normalised(op("Sub", {x, mean}), variance);
  return pattern;
}

const Pattern& rms_norm() {
  static const Pattern x = any("x");
  static const Pattern pattern = normalised(x, mean_of("variance", product({x, x})));
  return pattern;
}

// As TensorFlow's batch_normalization writes it: x * m + (bias - mean * m) with m = scale / sqrt(variance + epsilon).
const Pattern& layer_norm_by_factor() {
  static const Pattern x = any("x");
  static const Pattern mean = mean_of("mean", x);
  static const Pattern centred = either({op("Sub", {x, mean}), op("Sub", {mean, x})});
  static const Pattern variance = mean_of("variance", product({centred, centred}));
  static const Pattern inverse = inverse_deviation(variance);
  // Read twice, so no product may see through it.
  static const Pattern factor = either({op("Mul", {inverse, constant("scale")}), inverse});
  static const Pattern scaled = op("Mul", {x, factor}), scaled_mean = op("Mul", {mean, factor});
  static const Pattern pattern =
      either({op("Add", {scaled, either({op("Sub", {constant("bias"), scaled_mean}), op("Neg", {scaled_mean})})}),
              op("Sub", {scaled, scaled_mean})});
  return pattern;
}

// The trailing dims [first, rank) as integers.
std::optional<Shape> trailing_shape(const Value* x, int first) {
  Shape shape;
  for (int axis = first; axis < x->rank(); ++axis) {
    if (static_dim(x, axis) < 0) return std::nullopt;
    shape.push_back(static_dim(x, axis));
  }
  return shape;
}

// The elements of a constant spread over `shape`, to whose rank-r tensor it is added; nullopt when it varies elsewhere.
std::optional<std::vector<double>> spread(const Value* value, const Shape& shape, int rank) {
  auto numbers = numbers_of(value);
  if (!numbers || value->rank() > rank) return std::nullopt;
  const Shape& own = value->constant->shape();
  for (int axis = 0; axis < own.rank() - shape.rank(); ++axis) {
    if (own[axis] != 1) return std::nullopt;
  }
  if (numbers->size() == 1) numbers->resize(static_cast<size_t>(shape.elements()), numbers->front());
  for (int back = 1; own.elements() != 1 && back <= std::min(own.rank(), shape.rank()); ++back) {
    if (own[own.rank() - back] != shape[shape.rank() - back]) return std::nullopt;
  }
  if (static_cast<int64_t>(numbers->size()) != shape.elements()) return std::nullopt;
  return numbers;
}

bool recognise(Graph& graph, Node* node, const Pattern& pattern, const char* op_name) {
  auto found = match(graph, node->output(), pattern);
  if (!found) return false;
  Value* x = (*found)["x"];
  Ints axes = *reduced_axes(*(*found)["variance"]->producer);
  if (found->values.count("mean") != 0 && axes != *reduced_axes(*(*found)["mean"]->producer)) return false;
  auto shape = trailing_shape(x, static_cast<int>(axes[0]));
  if (!shape || !is_floating(x->dtype) || found->number("epsilon") < 0) return false;
  std::optional<std::vector<double>> scale(std::in_place, static_cast<size_t>(shape->elements()), 1.0);
  if (found->values.count("scale") != 0) scale = spread((*found)["scale"], *shape, x->rank());
  std::optional<std::vector<double>> bias;
  if (found->values.count("bias") != 0 && !(bias = spread((*found)["bias"], *shape, x->rank()))) return false;
  if (!scale) return false;
  Attributes attributes;
  attributes.set("axis", axes[0] - x->rank());
  attributes.set("epsilon", static_cast<float>(found->number("epsilon")));
  std::vector<Value*> inputs = {x, add_numbers(graph, node->name + "/scale", x->dtype, *shape, *scale)};
  if (bias) inputs.push_back(add_numbers(graph, node->name + "/bias", x->dtype, *shape, *bias));
  replace_node(graph, node, op_name, std::move(inputs), attributes);
  return true;
}

// norm(x) * scale and norm(x) + bias become inputs of the normalisation.
bool absorb(Graph& graph, Node* node) {
  bool is_scale = node->op == "Mul";
  if (!is_scale && node->op != "Add") return false;
  for (int side = 0; side < 2; ++side) {
    Value* normal = node->input(static_cast<size_t>(side));
    Value* factor = node->input(static_cast<size_t>(1 - side));
    bool is_rms = produced_by(normal, "RMSNormalization") != nullptr;
    Node* norm = is_rms ? normal->producer : produced_by(normal, "LayerNormalization");
    if (norm == nullptr || norm->program || only_user(graph, normal) != node || norm->input(2) != nullptr) continue;
    if (norm->output(1) != nullptr || norm->output(2) != nullptr || (is_rms && !is_scale)) continue;
    auto scale = numbers_of(norm->input(1));
    if (!scale) continue;
    const Shape& shape = norm->input(1)->constant->shape();
    auto numbers = spread(factor, shape, normal->rank());
    if (!numbers) continue;
    std::vector<Value*> inputs = {norm->inputs[0], norm->inputs[1]};
    for (size_t i = 0; is_scale && i < scale->size(); ++i) (*numbers)[i] *= (*scale)[i];
    Value* merged = add_numbers(graph, factor->name, norm->inputs[1]->dtype, shape, *numbers);
    if (is_scale)
      inputs[1] = merged;
    else
      inputs.push_back(merged);
    replace_node(graph, node, norm->op, inputs, norm->attributes);
    return true;
  }
  return false;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (absorb(graph, node)) return true;
    if (node->op == "Add" || node->op == "Sub")
      return recognise(graph, node, layer_norm_by_factor(), "LayerNormalization");
    if (node->op != "Div" && node->op != "Mul") return false;
    return recognise(graph, node, layer_norm(), "LayerNormalization") ||
           recognise(graph, node, layer_norm_by_squares(), "LayerNormalization") ||
           recognise(graph, node, rms_norm(), "RMSNormalization");
  });
}

}  // namespace

extern const Pass recognise_layer_norm_pass = {
    .name = "recognise_layer_norm",
    .summary =
        "(x - mean(x)) / sqrt(mean((x - mean(x))^2) + 1e-5) * scale + bias => LayerNormalization(x, scale, bias)",
    .run = run};

}  // namespace hussar
