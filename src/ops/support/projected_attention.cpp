#include "ops/projected_attention.h"

namespace hussar {

using namespace projected;

static void drop_last(std::vector<Value*>& inputs) {
  while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
}

// `length` inputs from `first` on.
static std::vector<Value*> inputs_of(const Builder& builder, size_t first, size_t length) {
  std::vector<Value*> inputs;
  for (size_t i = first; i < first + length; ++i) inputs.push_back(builder.input(i));
  return inputs;
}

Status expand_projected_attention(Builder& builder) {
  const bool of_bytes = builder.node.op == kQuantizedProjectedAttention;
  const std::string attention = builder.attributes.get_string(kAttention, "");
  const bool on_bytes = attention == "hussar.QuantizedAttention";
  if (!(of_bytes && on_bytes) && attention != "hussar.Attention")
    return builder.fail("'{}' is no attention on what it makes", attention);
  if (!builder.has(kX) || !builder.has(kW)) return builder.fail("has no rows or no weights");
  std::vector<Value*> factors = inputs_of(builder, 0, kMask);
  drop_last(factors);
  const bool has_sum = !of_bytes && factors.size() > kFloatBias;
  if (has_sum && factors.size() > kFloatBias + 1) return builder.fail("has scales, and multiplies floats");
  Value* rows = builder.make(product_of(builder.node.op), factors, product_attributes(builder.attributes));
  if (has_sum) {
    rows->producer->program = sum_with_bias();
    rows->producer->program_inputs = 2;
  }
  std::vector<Value*> operands = {rows, rows, rows};
  const std::vector<Value*> scales = inputs_of(builder, kQScale, 3);
  if (on_bytes) operands.insert(operands.end(), scales.begin(), scales.end());
  if (builder.has(kMask)) operands.push_back(builder.input(kMask));
  Value* y = builder.make(attention, operands, attention_attributes(builder.attributes));
  if (const Strings names = builder.attributes.get_strings(kParts); names.size() == 2) {
    rows->producer->name = names[0];
    y->producer->name = names[1];
  }
  builder.result(0, y);
  return {};
}

double flops_of_projected_attention(const Node& node) {
  auto x = node.input(kX) != nullptr ? node.input(kX)->static_shape() : std::nullopt;
  auto w = node.input(kW) != nullptr ? node.input(kW)->static_shape() : std::nullopt;
  if (!x || !w || x->rank() != 3 || w->rank() != 2) return 0;
  const int64_t heads = node.attributes.get_int("heads", 0), dim = node.attributes.get_int("head_dim", 0);
  const int64_t columns = dim + node.attributes.get_int("v_head_dim", dim);
  const double of_row = static_cast<double>(x->elements(2, 3)) * static_cast<double>((*w)[1]);
  return 2.0 * static_cast<double>(x->elements(0, 2)) * (of_row + static_cast<double>((*x)[1] * heads * columns));
}

}  // namespace hussar
