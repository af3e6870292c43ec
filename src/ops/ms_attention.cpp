// com.microsoft.Attention: self-attention with its projection. Inputs: x [B][S][K], weights [K][Q + K + V], bias, mask,
// past [2][B][H][P][D], attention bias. Outputs: y [B][S][V], present [2][B][H][P + S][D].
#include "ops/fused_attention.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  const Attributes& attributes = builder.attributes;
  if (attributes.get_int("num_heads", 0) < 1) return builder.fail("num_heads is missing");
  if (attributes.get_int("do_rotary", 0) != 0 || attributes.get_int("past_present_share_buffer", 0) != 0 ||
      builder.has(6)) {
    return builder.fail("rotary embedding and shared caches are not supported");
  }
  Ints sizes = attributes.get_ints("qkv_hidden_sizes");
  if (!sizes.empty() && sizes.size() != 3) return builder.fail("qkv_hidden_sizes has {} elements", sizes.size());
  Value* x = builder.input(0);
  Value* projected = builder.make("MatMul", {x, builder.input(1)});
  if (builder.has(2)) projected = builder.make("Add", {projected, builder.input(2)});
  std::vector<Value*> qkv = split_value(builder, projected, -1, 3, sizes);
  Value* keys = extent(builder, x, 1);
  Value* past[2] = {nullptr, nullptr};
  if (builder.has(4)) {
    std::vector<Value*> halves = split_value(builder, builder.input(4), 0, 2);
    for (size_t i = 0; i < 2; ++i) past[i] = builder.make("Squeeze", {halves[i], builder.integers({0})});
    keys = builder.make("Add", {keys, extent(builder, builder.input(4), 3)});
  }
  const Dim* batch = x->rank() == 3 ? &(*x->dims)[0] : nullptr;
  Value* bias = HUSSAR_TRY(padding_bias(builder, builder.input(3), keys, batch));
  bias = add_optional(builder, bias, builder.input(5));
  std::vector<Value*> results = make_attention(builder, qkv[0], qkv[1], qkv[2], bias, past[0], past[1]);
  builder.result(0, results[0]);
  if (!builder.wants(1)) return {};
  Attributes first;
  first.set("axis", int64_t{0});
  std::vector<Value*> presents;
  for (size_t i = 1; i < 3; ++i) presents.push_back(builder.make("Unsqueeze", {results[i], builder.integers({0})}));
  builder.result(1, builder.make("Concat", presents, first));
  return {};
}

extern const OpDef ms_attention_op = {
    .name = "com.microsoft.Attention", .min_inputs = 2, .max_inputs = 7, .max_outputs = 2, .expand = expand};

}  // namespace hussar
