// What Loop and Scan share: inference of state that changes its shape between iterations, and joining of slices.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

// Where the state variables of a loop are among the inputs and outputs of its body.
struct LoopStates {
  size_t first_input, first_output, count;
};

// Infers the body "body" for any iteration: dims of state variables that an iteration changes become unknown in
// `inputs`, until the body keeps them. Gives the infos of the body's outputs.
Result<std::vector<ValueInfo>> infer_loop_body(const InferContext& context, std::vector<ValueInfo>& inputs,
                                               const LoopStates& states);

// Joins slices of equal dtype and shape along a new axis (negative: from the end), in reverse order when asked.
// Without slices the shape is that of `like`, its unknown dims 0.
Result<Tensor> stack(const EvalContext& context, const std::vector<Tensor>& slices, int64_t axis, bool reversed,
                     const Value& like);
// The slice of a tensor at `index` of an axis in [0, rank), without that axis.
Tensor slice_at(const Tensor& tensor, int axis, int64_t index);

}  // namespace hussar
