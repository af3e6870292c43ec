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

// Bytes of a tensor that others follow.
constexpr size_t aligned_size(size_t bytes) { return (bytes + 63) / 64 * 64; }

// What an iteration hands to the next. A body may give its own inputs back, so there are two places that take turns.
class CarriedStates {
 public:
  explicit CarriedStates(Workspace& workspace) : now_(workspace.buffers), next_(workspace.buffers) {}
  // Makes `states`, which the body has read, copies of its results.
  void carry(std::span<const Tensor> results, std::span<Tensor> states);

 private:
  Loan<GrowingBuffer> now_, next_;
  bool is_swapped_ = false;
};

// Slices of equal dtype and shape that iterations give for the outputs from `first` on, and that are joined in the end.
class StackedSlices {
 public:
  StackedSlices(EvalContext& context, size_t first);
  size_t count() const { return count_; }
  // Of one iteration.
  Status add(std::span<const Tensor> slices);
  // Joins those of an output along a new axis (negative: from the end), in reverse order when asked. Without slices the
  // shape is that of `like`, its unknown dims 0.
  Status stack(size_t output, int64_t axis, bool reversed, const Value& like);

 private:
  EvalContext& context_;
  size_t first_, count_;
  Loan<std::vector<Tensor>> kinds_;  // dtypes and shapes
  Loan<GrowingBuffer> memory_;       // per iteration the slices of all outputs
  size_t iterations_ = 0, iteration_bytes_ = 0;
};

// The slice of a tensor at `index` of an axis in [0, rank), without that axis: a view, or in `memory`.
Tensor slice_at(const Tensor& tensor, int axis, int64_t index, std::byte* memory);

}  // namespace hussar
