// Pieces of the com.microsoft attention operators.
#include "ops/fused_attention.h"

namespace hussar {

std::vector<Value*> split_value(Builder& builder, Value* value, int64_t axis, size_t count, const Ints& sizes) {
  Attributes attributes;
  attributes.set("axis", axis);
  std::vector<Value*> inputs = {value};
  if (sizes.empty())
    attributes.set("num_outputs", static_cast<int64_t>(count));
  else
    inputs.push_back(builder.integers(sizes));
  return builder.make_many("Split", inputs, count, attributes);
}

Value* extent(Builder& builder, Value* value, int64_t axis) {
  Attributes attributes;
  attributes.set("start", axis);
  attributes.set("end", axis + 1);
  return builder.make("Shape", {value}, attributes);
}

Result<Value*> padding_bias(Builder& builder, Value* mask, Value* keys, const Dim* batch) {
  if (mask == nullptr) return nullptr;
  DType dtype = builder.dtype();
  Attributes to_int64, to_bool;
  to_int64.set("to", static_cast<int64_t>(DType::kInt64));
  to_bool.set("to", static_cast<int64_t>(DType::kBool));
  Value* visible = nullptr;
  Ints axes = {1};
  if (mask->rank() == 1) {
    if (batch == nullptr || !((*mask->dims)[0] == *batch)) {
      return builder.fail("a mask of shape [{}] is not supported; only one length per sequence is",
                          to_string(*mask->dims));
    }
    Value* lengths = builder.make("Unsqueeze", {builder.make("Cast", {mask}, to_int64), builder.integers({1})});
    Value* count = builder.make("Squeeze", {keys, builder.integers({0})});
    Value* positions = builder.make("Range", {builder.integer(0), count, builder.integer(1)});
    visible = builder.make("Less", {positions, lengths});
    axes = {1, 2};
  } else if (mask->rank() == 2 || mask->rank() == 3) {
    visible = builder.make("Cast", {mask}, to_bool);
    if (mask->rank() == 2) axes = {1, 2};
  } else {
    return builder.fail("a mask of rank {} is not supported", mask->rank());
  }
  Value* hidden = builder.number(builder.attributes.get_float("mask_filter_value", -10000), dtype);
  Value* bias = builder.make("Where", {visible, builder.number(0, dtype), hidden});
  return builder.make("Unsqueeze", {bias, builder.integers(axes)});
}

std::vector<Value*> make_attention(Builder& builder, Value* q, Value* k, Value* v, Value* bias, Value* past_key,
                                   Value* past_value) {
  int64_t heads = builder.attributes.get_int("num_heads", 0);
  Attributes attributes;
  attributes.set("q_num_heads", heads);
  attributes.set("kv_num_heads", heads);
  attributes.set("is_causal", builder.attributes.get_int("unidirectional", 0));
  float scale = builder.attributes.get_float("scale", 0);
  if (scale != 0) attributes.set("scale", scale);
  std::vector<Value*> inputs = {q, k, v, bias, past_key, past_value};
  while (inputs.back() == nullptr) inputs.pop_back();
  return builder.make_many("Attention", inputs, 3, attributes);
}

}  // namespace hussar
