// com.microsoft.GroupQueryAttention: causal attention whose keys and values have fewer heads, with a cache. Inputs:
// query [B][S][H * D], key and value [B][S][K * D], past_key and past_value [B][K][P][D], seqlens_k [B] (the number of
// keys of each sequence, with the new ones, less 1), total_sequence_length, cos_cache, sin_cache, position_ids,
// attention bias. Outputs: y [B][S][H * D], present_key, present_value [B][K][P + S][D]. New keys stand behind the
// valid ones of their sequence, so sequences may have different lengths.
#include <limits>

#include "ops/fused_attention.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

enum Input : size_t {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLengths,
  kCos = 7,
  kSin,
  kBias = 10,
  kSink,
  kScales
};

Status check(const Builder& builder) {
  const Attributes& attributes = builder.attributes;
  if (attributes.get_int("num_heads", 0) < 1 || attributes.get_int("kv_num_heads", 0) < 1)
    return builder.fail("num_heads or kv_num_heads is missing");
  if (!builder.has(kKey) || !builder.has(kValue))
    return builder.fail("packed queries, keys and values are not supported; export them as three inputs");
  if (attributes.get_int("do_rotary", 0) != 0)
    return builder.fail("do_rotary is not supported; export the model with RotaryEmbedding nodes");
  if (builder.has(kPastKey) != builder.has(kPastValue)) return builder.fail("past_key and past_value belong together");
  if (builder.has(kPastKey) && !builder.has(kLengths)) return builder.fail("seqlens_k is missing");
  if (attributes.get_int("local_window_size", -1) != -1) return builder.fail("local_window_size is not supported");
  if (attributes.get_float("softcap", 0) != 0) return builder.fail("softcap is not supported");
  if (attributes.get_int("smooth_softmax", 0) > 0 || builder.has(kSink))
    return builder.fail("smooth_softmax and head_sink are not supported");
  if (builder.has(kScales) || builder.has(kScales + 1)) return builder.fail("quantized caches are not supported");
  if (builder.wants(3)) return builder.fail("the output of scores is not supported");
  return {};
}

// [B][length][heads * D] -> [B][heads][length][D].
Value* split_heads(Builder& builder, Value* value, int64_t heads) {
  Attributes order;
  order.set("perm", Ints{0, 2, 1, 3});
  return builder.make("Transpose", {builder.make("Reshape", {value, builder.integers({0, 0, heads, -1})})}, order);
}

Attributes attention_attributes(const Builder& builder) {
  Attributes attributes;
  if (float scale = builder.attributes.get_float("scale", 0); scale != 0) attributes.set("scale", scale);
  return attributes;
}

void expand_without_past(Builder& builder) {
  Attributes attributes = attention_attributes(builder);
  attributes.set("q_num_heads", builder.attributes.get_int("num_heads", 0));
  attributes.set("kv_num_heads", builder.attributes.get_int("kv_num_heads", 0));
  attributes.set("is_causal", int64_t{1});
  std::vector<Value*> inputs = {builder.input(kQuery), builder.input(kKey), builder.input(kValue)};
  if (builder.has(kBias)) inputs.push_back(builder.input(kBias));
  std::vector<Value*> results = builder.make_many("Attention", inputs, 3, attributes);
  for (size_t i = 0; i < 3; ++i) builder.result(i, results[i]);
}

// 0 for the keys up to the query's own position, else -infinity: [B][1][S][keys]. `begin` [B]: the first new position.
Value* causal_bias(Builder& builder, Value* begin, Value* keys) {
  auto positions = [&](Value* count) {
    count = builder.make("Squeeze", {count, builder.integers({0})});
    return builder.make("Range", {builder.integer(0), count, builder.integer(1)});
  };
  Value* rows =
      builder.make("Unsqueeze", {positions(extent(builder, builder.input(kQuery), 1)), builder.integers({1})});
  rows = builder.make("Add", {builder.make("Unsqueeze", {begin, builder.integers({1, 2, 3})}), rows});
  Value* visible = builder.make("LessOrEqual", {positions(extent(builder, keys, 2)), rows});
  DType dtype = builder.dtype();
  Value* hidden = builder.number(-std::numeric_limits<double>::infinity(), dtype);
  return builder.make("Where", {visible, builder.number(0, dtype), hidden});
}

void expand_with_past(Builder& builder) {
  const int64_t kv_heads = builder.attributes.get_int("kv_num_heads", 0);
  Attributes to_int64, axis, order;
  to_int64.set("to", static_cast<int64_t>(DType::kInt64));
  axis.set("axis", int64_t{2});
  order.set("perm", Ints{0, 2, 1, 3});
  Value* lengths = builder.make("Cast", {builder.input(kLengths)}, to_int64);
  lengths = builder.make("Add", {builder.make("Reshape", {lengths, builder.integers({-1})}), builder.integers({1})});
  // The first queries of a padded sequence may be more than its length.
  Value* begin = builder.make("Sub", {lengths, extent(builder, builder.input(kQuery), 1)});
  begin = builder.make("Max", {begin, builder.integers({0})});
  Value* present[2];
  for (size_t i = 0; i < 2; ++i) {
    Value* added = split_heads(builder, builder.input(kKey + i), kv_heads);
    Value* room = builder.make("Concat", {builder.input(kPastKey + i), added}, axis);
    present[i] = builder.make("TensorScatter", {room, added, begin});
    builder.result(1 + i, present[i]);
  }
  Value* bias = add_optional(builder, causal_bias(builder, begin, present[0]), builder.input(kBias));
  Value* query = split_heads(builder, builder.input(kQuery), builder.attributes.get_int("num_heads", 0));
  Value* y = builder.make("Attention", {query, present[0], present[1], bias}, attention_attributes(builder));
  builder.result(0, builder.make("Reshape", {builder.make("Transpose", {y}, order), builder.integers({0, 0, -1})}));
}

}  // namespace

static Status expand(Builder& builder) {
  HUSSAR_TRY(check(builder));
  if (builder.has(kPastKey))
    expand_with_past(builder);
  else
    expand_without_past(builder);
  return {};
}

extern const OpDef ms_group_query_attention_op = {
    .name = "com.microsoft.GroupQueryAttention", .min_inputs = 1, .max_inputs = 14, .max_outputs = 4, .expand = expand};

}  // namespace hussar
