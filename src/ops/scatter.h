// Index arithmetic and updates shared by the gather and scatter operators. Offsets count elements of the data tensor.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

// GatherElements and ScatterElements: checks the attribute `axis`, and that indices have the rank of the data and are
// not longer than it outside of the axis.
Status check_element_indices(const InferContext& context, size_t data, size_t indices);
// The element of `data` that each element of `indices` names: its own position, with the index at `axis`.
Result<Ints> element_offsets(const EvalContext& context, size_t data, size_t indices);

// GatherND and ScatterND.
struct TupleOffsets {
  Ints offsets;       // the first element of the slice that each index tuple names
  int64_t block = 1;  // elements in one slice
};
// Fails when an index is out of range. Shapes must have passed inference.
Result<TupleOffsets> tuple_offsets(const EvalContext& context, size_t data, size_t indices, int batch_dims);

// Checks the attribute `reduction`.
Status check_reduction(const InferContext& context);
// output = input 0, then for every k: output[offsets[k] + j] is combined with updates[k * block + j] (input 2) by the
// attribute `reduction`: none (replace), add, mul, max or min.
Status scatter_updates(EvalContext& context, const Ints& offsets, int64_t block);

}  // namespace hussar
