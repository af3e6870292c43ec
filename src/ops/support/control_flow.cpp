// Loop-carried shapes and stacking.
#include "ops/control_flow.h"

#include <cstring>

#include "ops/axis.h"

namespace hussar {
namespace {

// Widens what is known of a state so that it also covers what an iteration made of it. `widened` marks the dims that
// stand for anything already. Returns whether the state changed.
bool widen(const InferContext& context, ValueInfo& state, const ValueInfo& next, std::vector<bool>& widened) {
  if (!state.dims) return false;
  if (!next.dims || next.dims->size() != state.dims->size()) {
    state.dims.reset();
    return true;
  }
  bool changed = false;
  widened.resize(state.dims->size(), false);
  for (size_t axis = 0; axis < state.dims->size(); ++axis) {
    if (widened[axis] || (*state.dims)[axis] == (*next.dims)[axis]) continue;
    (*state.dims)[axis] = context.fresh();
    widened[axis] = changed = true;
  }
  return changed;
}

}  // namespace

Result<std::vector<ValueInfo>> infer_loop_body(const InferContext& context, std::vector<ValueInfo>& inputs,
                                               const LoopStates& states) {
  for (size_t i = 0; i < states.count; ++i) {
    inputs[states.first_input + i].constant = nullptr;
    inputs[states.first_input + i].elements.reset();
  }
  std::vector<std::vector<bool>> widened(states.count);
  // Every round but the last widens a dim or a rank, so this ends.
  for (;;) {
    auto outputs = HUSSAR_TRY(context.infer_body("body", inputs));
    if (outputs.size() < states.first_output + states.count) return context.fail("the body gives too few outputs");
    bool changed = false;
    for (size_t i = 0; i < states.count; ++i) {
      ValueInfo& state = inputs[states.first_input + i];
      const ValueInfo& next = outputs[states.first_output + i];
      if (state.dtype != DType::kUndefined && next.dtype != DType::kUndefined && state.dtype != next.dtype) {
        return context.fail("state {} changes its dtype from {} to {}", i, dtype_name(state.dtype),
                            dtype_name(next.dtype));
      }
      changed = widen(context, state, next, widened[i]) || changed;
    }
    if (!changed) return outputs;
  }
}

Result<Tensor> stack(const EvalContext& context, const std::vector<Tensor>& slices, int64_t axis, bool reversed,
                     const Value& like) {
  Shape inner;
  DType dtype = like.dtype;
  if (!slices.empty()) {
    inner = slices[0].shape();
    dtype = slices[0].dtype();
  } else if (like.dims) {
    for (const Dim& dim : *like.dims) inner.push_back(dim.is_constant() ? dim.value() : 0);
  }
  if (dtype_size(dtype) == 0) return context.fail("the dtype of an output of no iterations is unknown");
  int rank = inner.rank() + 1;
  if (axis < -rank || axis >= rank || rank > kMaxRank)
    return context.fail("axis {} is out of range for rank {}", axis, rank);
  auto at = static_cast<int>(axis < 0 ? axis + rank : axis);
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    shape.push_back(i == at ? static_cast<int64_t>(slices.size()) : inner[i < at ? i : i - 1]);
  }
  Tensor result(dtype, shape);
  int64_t outer = inner.elements(0, at);
  size_t run = static_cast<size_t>(inner.elements(at, inner.rank())) * dtype_size(dtype);
  for (size_t k = 0; k < slices.size(); ++k) {
    const Tensor& slice = slices[reversed ? slices.size() - 1 - k : k];
    if (slice.dtype() != dtype || !(slice.shape() == inner))
      return context.fail("iterations give slices of different shapes");
    for (int64_t i = 0; run > 0 && i < outer; ++i) {
      size_t position = static_cast<size_t>(i) * slices.size() + k;
      std::memcpy(result.raw() + position * run, slice.raw() + static_cast<size_t>(i) * run, run);
    }
  }
  return result;
}

Tensor slice_at(const Tensor& tensor, int axis, int64_t index) {
  Shape shape;
  for (int i = 0; i < tensor.shape().rank(); ++i) {
    if (i != axis) shape.push_back(tensor.shape()[i]);
  }
  Tensor result(tensor.dtype(), shape);
  AxisSplit split = split_at(tensor.shape(), axis);
  size_t run = static_cast<size_t>(split.inner) * dtype_size(tensor.dtype());
  for (int64_t outer = 0; run > 0 && outer < split.outer; ++outer) {
    auto position = static_cast<size_t>(outer * split.length + index);
    std::memcpy(result.raw() + static_cast<size_t>(outer) * run, tensor.raw() + position * run, run);
  }
  return result;
}

}  // namespace hussar
