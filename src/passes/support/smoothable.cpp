#include "passes/support/smoothable.h"

#include <algorithm>

#include "ops/product_weights.h"
#include "passes/pass.h"

namespace hussar {

static bool is_vector_of(const Value* value, const Dim& size) {
  return value != nullptr && value->is_constant() && value->dtype == DType::kFloat32 &&
         value->constant->shape().rank() == 1 && size.is(value->constant->elements());
}

bool is_normalization(const Node& node) { return node.op == "LayerNormalization" || node.op == "RMSNormalization"; }

static bool divides_normalization(const Node& norm, const Value& value) {
  if (norm.outputs[0] != &value || norm.program || value.layout != Layout::kPlain) return false;
  const int64_t axis = norm.attributes.get_int("axis", -1);
  if (axis != -1 && axis != value.rank() - 1) return false;
  const Dim& size = value.dims->back();
  return is_vector_of(norm.input(1), size) && (norm.input(2) == nullptr || is_vector_of(norm.input(2), size));
}

// What the model rounds itself keeps its scale.
static bool ends_with_factor(const Node& node) {
  if (node.op != "hussar.Pointwise" && !product_weights(node)) return false;
  if (!node.program) return node.op != "hussar.Pointwise";
  const Program& program = *node.program;
  return program.step_count > 0 && program.step_count < kProgramSteps &&
         program.operand_count + 2 <= kProgramOperands &&
         std::none_of(program.steps, program.steps + program.step_count,
                      [](const ProgramStep& step) { return step.op == ProgramOp::kRound; });
}

// How many channels lie in a row of what the product reads, and how many taps each has.
static std::pair<int64_t, int64_t> row_of(const Node& product, const ProductWeights& weights) {
  if (product.op != "Conv") return {weights.elements, 1};
  const Shape& filter = product.inputs[1]->constant->shape();
  return {filter[1] * product.attributes.get_int("group", 1), weights.elements / filter[1]};
}

int64_t smoothable_channels(const Graph& graph, const Value& value) {
  const Node* producer = value.producer;
  if (producer == nullptr || producer->output() != &value || value.dtype != DType::kFloat32) return 0;
  if (value.rank() < 1 || value.slice_of != nullptr || graph.is_output(&value) || value.users.empty()) return 0;
  const bool is_plain = value.layout == Layout::kPlain;
  const Dim& size = is_plain ? value.dims->back() : (*value.dims)[1];
  // A few tokens of a transformer are much larger than all others, and would decide about the channels.
  if (is_plain && !is_normalization(*producer)) return 0;
  const bool divides =
      is_normalization(*producer) ? divides_normalization(*producer, value) : ends_with_factor(*producer);
  if (!divides || !size.is_constant()) return 0;
  const bool suits = std::all_of(value.users.begin(), value.users.end(), [&](const Node* user) {
    const auto weights = product_weights(*user);
    return weights && (user->op == "Conv") != is_plain && user->inputs[0] == &value &&
           size.is(row_of(*user, *weights).first) && std::count(user->inputs.begin(), user->inputs.end(), &value) == 1;
  });
  return suits ? size.value() : 0;
}

std::vector<float> per_row_element(const Node& product, const std::vector<float>& channels) {
  if (channels.empty()) return {};
  const int64_t taps = row_of(product, *product_weights(product)).second;
  std::vector<float> elements;
  for (float value : channels) elements.insert(elements.end(), static_cast<size_t>(taps), value);
  return elements;
}

bool multiply_products(Graph& graph, Value* value, const std::vector<float>& divisors) {
  const std::string name = Quantization::smoothed_name(value->name);
  const bool is_taken =
      std::any_of(graph.values().begin(), graph.values().end(), [&](const auto& other) { return other->name == name; });
  if (is_taken) return false;
  const std::vector<Node*> products = value->users;
  for (Node* product : products) {
    Tensor result(DType::kFloat32, product->inputs[1]->constant->shape());
    scale_weights(*product_weights(*product), per_row_element(*product, divisors), result.data<float>());
    graph.set_input(product, 1, graph.add_constant(graph.unique_name(product->inputs[1]->name), std::move(result)));
  }
  // The calibration knows the range of the divided value by this name.
  value->name = name;
  return true;
}

}  // namespace hussar
