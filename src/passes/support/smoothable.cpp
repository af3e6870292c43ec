#include "passes/support/smoothable.h"

#include <algorithm>

#include "ops/product_weights.h"
#include "passes/pass.h"

namespace hussar {

bool is_normalization(const Node& node) { return node.op == "LayerNormalization" || node.op == "RMSNormalization"; }

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

static const Dim& channels_of(const Value& value) {
  return value.layout == Layout::kPlain ? value.dims->back() : (*value.dims)[1];
}

bool multiplies_channels(const Node& node, const Value& value) {
  const auto weights = product_weights(node);
  return weights && node.inputs[0] == &value && (node.op == "Conv") == (value.layout != Layout::kPlain) &&
         channels_of(value).is(row_of(node, *weights).first);
}

int64_t smoothable_channels(const Graph& graph, const Value& value) {
  const Node* producer = value.producer;
  if (producer == nullptr || producer->output() != &value || value.dtype != DType::kFloat32) return 0;
  if (value.rank() < 1 || value.users.empty() || !channels_of(value).is_constant()) return 0;
  const auto suits = [&](const Node* user) { return multiplies_channels(*user, value); };
  const int64_t channels = channels_of(value).value();
  if (value.layout == Layout::kPlain && is_normalization(*producer))
    return std::any_of(value.users.begin(), value.users.end(), suits) ? channels : 0;
  if (!ends_with_factor(*producer) || value.slice_of != nullptr || graph.is_output(&value)) return 0;
  const bool is_only_multiplied = std::all_of(value.users.begin(), value.users.end(), [&](const Node* user) {
    return suits(user) && std::count(user->inputs.begin(), user->inputs.end(), &value) == 1;
  });
  return is_only_multiplied ? channels : 0;
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
