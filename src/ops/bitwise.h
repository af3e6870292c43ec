// Operators on the bits of integers. All integers are read and written as uint64_t: sign extension on the way in and
// truncation on the way out leave the bits of the narrow type right.
#pragma once
#include "ops/elementwise.h"

namespace hussar {

inline Status infer_broadcast_integers(InferContext& context) {
  if (is_floating(context.dtype(0))) return context.fail("takes integers, not {}", dtype_name(context.dtype(0)));
  return infer_broadcast(context);
}

template <auto Compute>
Status evaluate_binary_bits(EvalContext& context) {
  map_binary<uint64_t, uint64_t>(context, Compute);
  return {};
}

}  // namespace hussar
