// ReverseSequence: the first sequence_lens[batch] elements along time_axis in reverse order, the rest as they are.
#include <cstring>

#include "ops/arguments.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  int64_t batch = context.attributes.get_int("batch_axis", 1);
  int64_t time = context.attributes.get_int("time_axis", 0);
  if (batch < 0 || batch > 1 || time != 1 - batch) return context.fail("batch_axis and time_axis must be 0 and 1");
  const Dims* dims = context.dims(0);
  const Dims* lengths = context.dims(1);
  if (dims != nullptr && dims->size() < 2) return context.fail("takes rank 2 and up, not {}", dims->size());
  if (lengths != nullptr && lengths->size() != 1) return context.fail("sequence_lens must be a list");
  if (dims != nullptr && lengths != nullptr)
    HUSSAR_TRY(same_dim(context, lengths->front(), (*dims)[static_cast<size_t>(batch)]));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  const Shape& shape = in.shape();
  bool batch_first = context.attributes.get_int("batch_axis", 1) == 0;
  int64_t batches = shape[batch_first ? 0 : 1];
  int64_t steps = shape[batch_first ? 1 : 0];
  Ints lengths = context.integers(1);
  size_t unit = static_cast<size_t>(shape.elements(2, shape.rank())) * dtype_size(in.dtype());
  if (unit == 0) return {};
  for (int64_t batch = 0; batch < batches; ++batch) {
    int64_t length = lengths[static_cast<size_t>(batch)];
    if (length < 0 || length > steps) return context.fail("sequence length {} is not in [0, {}]", length, steps);
    for (int64_t step = 0; step < steps; ++step) {
      int64_t from = step < length ? length - 1 - step : step;
      auto at = [&](int64_t time) {
        return static_cast<size_t>(batch_first ? batch * steps + time : time * batches + batch);
      };
      std::memcpy(context.output().raw() + at(step) * unit, in.raw() + at(from) * unit, unit);
    }
  }
  return {};
}

extern const OpDef reverse_sequence_op = {
    .name = "ReverseSequence", .min_inputs = 2, .max_inputs = 2, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
