// com.microsoft.MultiHeadAttention: attention of projected operands. Inputs: query [B][S][Q] or all three packed as
// [B][S][H][3][D], key [B][T][K] or [B][H][T][D] or with values packed as [B][T][H][2][D], value, bias [Q + K + V],
// padding mask, attention bias, past_key, past_value. Outputs: y [B][S][V], present_key, present_value.
#include "ops/fused_attention.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

// [B][length][H][count][D] -> count values [B][length][H * D].
std::vector<Value*> unpack(Builder& builder, Value* packed, size_t count) {
  std::vector<Value*> parts;
  for (Value* part : split_value(builder, packed, 3, count)) {
    parts.push_back(builder.make("Reshape", {part, builder.integers({0, 0, -1})}));
  }
  return parts;
}

// [B][H][length][D] -> [B][length][H * D]; other ranks stay.
Value* merge_heads(Builder& builder, Value* value) {
  if (value->rank() != 4) return value;
  Attributes order;
  order.set("perm", Ints{0, 2, 1, 3});
  return builder.make("Reshape", {builder.make("Transpose", {value}, order), builder.integers({0, 0, -1})});
}

// The sizes of the parts of the bias, when the operands tell them; equal parts otherwise.
Ints bias_sizes(const Builder& builder) {
  Ints sizes;
  for (size_t i = 0; i < 3; ++i) {
    const Value* value = builder.input(i);
    if (value == nullptr || value->rank() != 3 || !(*value->dims)[2].is_constant()) return {};
    sizes.push_back((*value->dims)[2].value());
  }
  return sizes;
}

}  // namespace

static Status expand(Builder& builder) {
  if (builder.attributes.get_int("num_heads", 0) < 1) return builder.fail("num_heads is missing");
  if (builder.has(8) || builder.has(9) || builder.wants(3))
    return builder.fail("shared caches and score outputs are not supported");
  Value* parts[3] = {builder.input(0), builder.input(1), builder.input(2)};
  if (builder.rank(0) == 5) {
    std::vector<Value*> qkv = unpack(builder, parts[0], 3);
    std::copy(qkv.begin(), qkv.end(), parts);
  } else if (parts[1] != nullptr && parts[1]->rank() == 5) {
    std::vector<Value*> kv = unpack(builder, parts[1], 2);
    std::copy(kv.begin(), kv.end(), parts + 1);
  }
  if (parts[1] == nullptr || parts[2] == nullptr) return builder.fail("key or value is missing");
  for (Value*& part : parts) part = merge_heads(builder, part);
  if (builder.has(3)) {
    std::vector<Value*> biases = split_value(builder, builder.input(3), 0, 3, bias_sizes(builder));
    for (size_t i = 0; i < 3; ++i) parts[i] = builder.make("Add", {parts[i], biases[i]});
  }
  Value* keys = extent(builder, parts[1], 1);
  if (builder.has(6)) keys = builder.make("Add", {keys, extent(builder, builder.input(6), 2)});
  const Dim* batch = builder.rank(0) > 0 ? &(*builder.input(0)->dims)[0] : nullptr;
  Value* bias = HUSSAR_TRY(padding_bias(builder, builder.input(4), keys, batch));
  bias = add_optional(builder, bias, builder.input(5));
  std::vector<Value*> results =
      make_attention(builder, parts[0], parts[1], parts[2], bias, builder.input(6), builder.input(7));
  for (size_t i = 0; i < 3; ++i) builder.result(i, results[i]);
  return {};
}

extern const OpDef ms_multi_head_attention_op = {
    .name = "com.microsoft.MultiHeadAttention", .min_inputs = 1, .max_inputs = 10, .max_outputs = 4, .expand = expand};

}  // namespace hussar
