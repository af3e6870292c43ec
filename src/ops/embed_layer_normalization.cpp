// com.microsoft.EmbedLayerNormalization: LayerNormalization of word + position + segment embeddings. Inputs: word ids
// [B][S], segment ids, word, position and segment tables, gamma, beta, mask [B][S], position ids. Outputs: result
// [B][S][H], mask lengths [B], the sum.
#include "ops/builder.h"
#include "ops/fused_attention.h"
#include "ops/op_def.h"

namespace hussar {

static Status expand(Builder& builder) {
  for (size_t i : {2, 3, 5, 6}) {
    if (!builder.has(i)) return builder.fail("input {} is missing", i);
  }
  if (builder.has(1) != builder.has(4)) return builder.fail("segment ids and the segment table belong together");
  Value* sum = builder.make("Gather", {builder.input(2), builder.input(0)});
  Value* positions = nullptr;
  if (builder.has(8)) {
    positions = builder.make("Gather", {builder.input(3), builder.input(8)});
  } else {
    // Positions 0 to S - 1.
    Value* length = extent(builder, builder.input(0), 1);
    positions = builder.make("Slice", {builder.input(3), builder.integers({0}), length, builder.integers({0})});
  }
  sum = builder.make("Add", {sum, positions});
  if (builder.has(1)) sum = builder.make("Add", {sum, builder.make("Gather", {builder.input(4), builder.input(1)})});
  Attributes attributes;
  attributes.set("epsilon", builder.attributes.get_float("epsilon", 1e-12F));
  builder.result(0, builder.make("LayerNormalization", {sum, builder.input(5), builder.input(6)}, attributes));
  builder.result(2, sum);
  if (!builder.wants(1)) return {};
  Attributes flat;
  flat.set("keepdims", int64_t{0});
  flat.set("to", static_cast<int64_t>(DType::kInt32));
  Value* shape = extent(builder, builder.input(0), 0);
  Value* lengths = builder.has(7) ? builder.make("ReduceSum", {builder.input(7), builder.integers({1})}, flat)
                                  : builder.make("Expand", {builder.integer(0), shape});
  builder.result(1, builder.make("Cast", {lengths}, flat));
  return {};
}

extern const OpDef embed_layer_normalization_op = {.name = "com.microsoft.EmbedLayerNormalization",
                                                   .min_inputs = 1,
                                                   .max_inputs = 9,
                                                   .max_outputs = 3,
                                                   .expand = expand};

}  // namespace hussar
