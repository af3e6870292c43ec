// TensorScatter: a key/value cache with `update` written at write_indices[batch] along `axis`; mode "circular" wraps
// around the end of the cache.
#include <cstring>

#include "ops/arguments.h"
#include "ops/axis.h"
#include "ops/elementwise.h"
#include "ops/movement.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  std::string mode = context.attributes.get_string("mode", "linear");
  if (mode != "linear" && mode != "circular") return context.fail("unknown mode '{}'", mode);
  if (context.dtype(1) != context.dtype(0)) return context.fail("cache and update have different dtypes");
  const Dims* cache = context.dims(0);
  const Dims* update = context.dims(1);
  if (cache == nullptr) return {};
  if (cache->empty()) return context.fail("the cache must not be a scalar");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -2), context.rank(0)));
  if (axis == 0) return context.fail("axis 0 is the batch");
  if (const Dims* indices = context.dims(2)) {
    if (indices->size() != 1) return context.fail("write_indices must be a list");
    HUSSAR_TRY(same_dim(context, indices->front(), cache->front()));
  }
  if (update == nullptr) return {};
  if (update->size() != cache->size()) return context.fail("cache and update have different ranks");
  for (size_t i = 0; i < cache->size(); ++i) {
    if (static_cast<int>(i) != axis) HUSSAR_TRY(same_dim(context, (*cache)[i], (*update)[i]));
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  const Tensor& update = context.input(1);
  Tensor& out = context.output();
  bool circular = context.attributes.get_string("mode", "linear") == "circular";
  AxisSplit cache = split_at(context.shape(0), context.attributes.get_int("axis", -2));
  AxisSplit part = split_at(update.shape(), context.attributes.get_int("axis", -2));
  Ints begin = context.integers(2);
  begin.resize(static_cast<size_t>(context.shape(0)[0]), 0);
  copy_elements(context.input(0), out);
  if (update.bytes() == 0) return {};
  size_t unit = static_cast<size_t>(cache.inner) * dtype_size(out.dtype());
  int64_t per_batch = cache.outer / context.shape(0)[0];
  for (int64_t outer = 0; outer < cache.outer; ++outer) {
    int64_t first = begin[static_cast<size_t>(outer / per_batch)];
    bool fits = first >= 0 && (circular ? cache.length > 0 : first <= cache.length - part.length);
    if (!fits) return context.fail("{} entries at {} do not fit a cache of {}", part.length, first, cache.length);
    for (int64_t i = 0; i < part.length; ++i) {
      int64_t at = circular ? (first % cache.length + i) % cache.length : first + i;
      std::memcpy(out.raw() + static_cast<size_t>(outer * cache.length + at) * unit,
                  update.raw() + static_cast<size_t>(outer * part.length + i) * unit, unit);
    }
  }
  return {};
}

extern const OpDef tensor_scatter_op = {
    .name = "TensorScatter", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
