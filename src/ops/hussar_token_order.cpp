// hussar.TokenOrder(mask) -> index, place, starts: where the tokens of a batch of sequences go when padding is left
// out.
//
// mask [batch][length], integers, floats or booleans: 0 is padding, with the attribute inverted=1 everything else is.
// The tokens of all sequences, in their order, are the first T of batch * length rows.
//   index  int32 [batch * length]  the position that row t comes from; -1 from T on
//   place  int32 [batch * length]  the row that a position goes to; -1 for padding
//   starts int32 [batch + 1]       the first row of each sequence, and T
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  const DType dtype = context.dtype(0);
  if (!is_floating(dtype) && dtype != DType::kInt32 && dtype != DType::kInt64 && dtype != DType::kBool &&
      dtype != DType::kUInt8)
    return context.fail("a mask of {}", dtype_name(dtype));
  const Dims* mask = context.dims(0);
  if (mask == nullptr) {
    for (size_t i = 0; i < context.output_count(); ++i) context.set_rank(i, DType::kInt32, 1);
    return {};
  }
  if (mask->size() != 2) return context.fail("a mask of shape {}, not [batch][length]", to_string(*mask));
  const Dim rows = (*mask)[0] * (*mask)[1];
  const bool is_countable = !rows.is_constant() || rows.value() < (int64_t{1} << 31);
  if (!is_countable) return context.fail("a mask of shape {} is too large", to_string(*mask));
  context.set(0, DType::kInt32, {rows});
  if (context.output_count() > 1) context.set(1, DType::kInt32, {rows});
  if (context.output_count() > 2) context.set(2, DType::kInt32, {(*mask)[0] + Dim(1)});
  return {};
}

static Status evaluate(EvalContext& context) {
  const auto mask = context.read<float>(0);
  const int64_t batch = context.shape(0)[0], length = context.shape(0)[1];
  const bool is_inverted = context.attributes.get_int("inverted", 0) != 0;
  auto* index = context.output(0).data<int32_t>();
  auto* place = context.wants(1) ? context.output(1).data<int32_t>() : nullptr;
  auto* starts = context.wants(2) ? context.output(2).data<int32_t>() : nullptr;
  int32_t row = 0;
  for (int64_t position = 0; position < batch * length; ++position) {
    if (starts != nullptr && position % length == 0) starts[position / length] = row;
    const bool is_token = (mask[position] != 0) != is_inverted;
    if (place != nullptr) place[position] = is_token ? row : -1;
    if (is_token) index[row++] = static_cast<int32_t>(position);
  }
  if (starts != nullptr) {
    // Sequences without positions have no rows either.
    if (length == 0) std::fill_n(starts, batch, 0);
    starts[batch] = row;
  }
  std::fill(index + row, index + batch * length, -1);
  return {};
}

extern const OpDef hussar_token_order_op = {.name = "hussar.TokenOrder",
                                            .min_inputs = 1,
                                            .max_inputs = 1,
                                            .max_outputs = 3,
                                            .infer = infer,
                                            .evaluate = evaluate};

}  // namespace hussar
