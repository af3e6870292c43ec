// Pieces of the com.microsoft attention operators, written as canonical ones.
#pragma once
#include "ops/builder.h"

namespace hussar {

// Splits a value into parts along an axis: of the given sizes, or into `count` equal ones when sizes is empty.
std::vector<Value*> split_value(Builder& builder, Value* value, int64_t axis, size_t count, const Ints& sizes = {});

// What a padding mask adds to the scores, 0 or the attribute mask_filter_value, shaped to broadcast to [B][H][S][T].
// Masks: [B] valid key lengths, [B][T] or [B][S][T] with 0 where a key is not to be seen, null: none. `keys` is an
// int64 [1] value, the total number of keys; `batch` is the batch dim as far as it is known.
Result<Value*> padding_bias(Builder& builder, Value* mask, Value* keys, const Dim* batch);

// a + b, either of which may be null.
inline Value* add_optional(Builder& builder, Value* a, Value* b) {
  if (a == nullptr || b == nullptr) return a != nullptr ? a : b;
  return builder.make("Add", {a, b});
}

// The Attention node: q, k, v as [B][length][H * size], additive bias, caches. Returns its first three outputs.
std::vector<Value*> make_attention(Builder& builder, Value* q, Value* k, Value* v, Value* bias, Value* past_key,
                                   Value* past_value);

// int64 [1]: extent `axis` of a value.
Value* extent(Builder& builder, Value* value, int64_t axis);

}  // namespace hussar
