// What composite operators on quantized tensors consist of.
#include "ops/quantized_composite.h"

#include <numeric>

namespace hussar {

Result<Value*> dequantized(Builder& builder, size_t data, int64_t axis) {
  if (!builder.has(data) || !builder.has(data + 1))
    return builder.fail("input {} or its scale, input {}, is missing", data, data + 1);
  Attributes attributes;
  attributes.set("axis", axis);
  return builder.make("DequantizeLinear", {builder.input(data), builder.input(data + 1), builder.input(data + 2)},
                      std::move(attributes));
}

Result<Value*> quantized(Builder& builder, Value* real, size_t scale, size_t like) {
  if (!builder.has(scale)) return builder.fail("input {}, the scale of the output, is missing", scale);
  Value* zero_point = builder.input(scale + 1);
  if (zero_point == nullptr && !builder.has(like)) return builder.fail("input {} is missing", like);
  if (zero_point == nullptr) zero_point = builder.number(0, builder.dtype(like));
  return builder.make("QuantizeLinear", {real, builder.input(scale), zero_point});
}

Status expand_quantized_unary(Builder& builder, std::string_view op, Attributes attributes) {
  Value* x = HUSSAR_TRY(dequantized(builder, 0));
  builder.result(0, HUSSAR_TRY(quantized(builder, builder.make(op, {x}, std::move(attributes)), 3)));
  return {};
}

Status expand_quantized_binary(Builder& builder, std::string_view op) {
  Value* a = HUSSAR_TRY(dequantized(builder, 0));
  Value* b = HUSSAR_TRY(dequantized(builder, 3));
  builder.result(0, HUSSAR_TRY(quantized(builder, builder.make(op, {a, b}), 6)));
  return {};
}

// Moves the last axis to the place of the channels, or back.
static Value* move_channels(Builder& builder, Value* value, int rank, bool to_front) {
  Ints order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  if (to_front)
    std::rotate(order.begin() + 1, order.end() - 1, order.end());
  else
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  Attributes attributes;
  attributes.set("perm", order);
  return builder.make("Transpose", {value}, std::move(attributes));
}

Status expand_quantized_pool(Builder& builder, std::string_view op) {
  Value* x = HUSSAR_TRY(dequantized(builder, 0));
  const bool channels_last = builder.attributes.get_int("channels_last", 0) != 0;
  const int rank = builder.rank();
  if (channels_last && rank < 3)
    return builder.fail("the rank of its input is {}; with channels_last, 3 at least", rank);
  Attributes attributes = builder.attributes;
  attributes.erase("channels_last");
  if (channels_last) x = move_channels(builder, x, rank, true);
  Value* y = builder.make(op, {x}, std::move(attributes));
  if (channels_last) y = move_channels(builder, y, rank, false);
  builder.result(0, HUSSAR_TRY(quantized(builder, y, 3)));
  return {};
}

Value* scaled_sums(Builder& builder, Value* sums, Value* scale, size_t bias) {
  Attributes attributes;
  attributes.set("to", int64_t{static_cast<int64_t>(DType::kFloat32)});
  Value* real = builder.make("Mul", {builder.make("Cast", {sums}, std::move(attributes)), scale});
  return builder.has(bias) ? builder.make("Add", {real, builder.input(bias)}) : real;
}

}  // namespace hussar
