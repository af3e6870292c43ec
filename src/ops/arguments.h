// Arguments of operators that are small lists of integers: shapes, axes, pads, repeats.
#pragma once
#include "ops/infer.h"

namespace hussar {

// The elements of input `index`, which must be an int32 or int64 tensor of rank <= 1; nullopt when it is absent or its
// elements are not known.
Result<std::optional<Dims>> list_argument(const InferContext& context, size_t index);
// The same when all elements are plain integers.
Result<std::optional<Ints>> integers_argument(const InferContext& context, size_t index);
// How many elements input `index` has when that is known: the rank that a shape argument announces.
std::optional<int> list_length(const InferContext& context, size_t index);

// The axes that input `index` lists, normalised to [0, rank); all axes when it is absent; nullopt when unknown.
Result<std::optional<Ints>> axes_argument(const InferContext& context, size_t index, int rank);

// The product; fails when plain integers overflow.
Result<Dim> checked_product(const InferContext& context, const Dims& dims);
// Fails unless the value is a dimension as far as that is known: not negative and not absurdly large.
Status check_dimension(const InferContext& context, const Dim& dim);
// One dimension that must be equal in two tensors: the more definite one, or an error.
Result<Dim> same_dim(const InferContext& context, const Dim& a, const Dim& b);

}  // namespace hussar
