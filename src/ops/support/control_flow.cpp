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

void CarriedStates::carry(std::span<const Tensor> results, std::span<Tensor> states) {
  size_t bytes = 0;
  for (const Tensor& result : results) bytes += aligned_size(result.bytes());
  std::byte* to = (is_swapped_ ? now_ : next_)->reserve(bytes);
  is_swapped_ = !is_swapped_;
  for (size_t i = 0; i < states.size(); ++i) {
    const Tensor& result = results[i];
    if (result.bytes() > 0) std::memcpy(to, result.raw(), result.bytes());
    states[i] = Tensor::view(result.dtype(), result.shape(), to);
    to += aligned_size(result.bytes());
  }
}

StackedSlices::StackedSlices(EvalContext& context, size_t first)
    : context_(context),
      first_(first),
      count_(std::max(context.output_count(), first) - first),
      kinds_(context.workspace().lists),
      memory_(context.workspace().buffers) {}

Status StackedSlices::add(std::span<const Tensor> slices) {
  if (iterations_ == 0) {
    for (size_t i = 0; i < count_; ++i) {
      const Tensor& slice = slices[i];
      kinds_->push_back(context_.wants(first_ + i) ? Tensor::view(slice.dtype(), slice.shape(), nullptr) : Tensor());
      iteration_bytes_ += kinds_->back().bytes();
    }
  }
  const size_t used = iterations_ * iteration_bytes_;
  std::byte* to = memory_->extend(used, used + iteration_bytes_) + used;
  for (size_t i = 0; i < count_; ++i) {
    const Tensor& kind = (*kinds_)[i];
    if (!kind.valid()) continue;
    if (slices[i].dtype() != kind.dtype() || !(slices[i].shape() == kind.shape()))
      return context_.fail("iterations give slices of different shapes");
    if (kind.bytes() > 0) std::memcpy(to, slices[i].raw(), kind.bytes());
    to += kind.bytes();
  }
  ++iterations_;
  return {};
}

Status StackedSlices::stack(size_t output, int64_t axis, bool reversed, const Value& like) {
  Shape inner;
  DType dtype = like.dtype;
  size_t offset = 0;
  if (iterations_ > 0) {
    const Tensor& kind = (*kinds_)[output - first_];
    inner = kind.shape();
    dtype = kind.dtype();
    for (size_t i = first_; i < output; ++i) offset += (*kinds_)[i - first_].bytes();
  } else if (like.dims) {
    for (const Dim& dim : *like.dims) inner.push_back(dim.is_constant() ? dim.value() : 0);
  }
  if (dtype_size(dtype) == 0) return context_.fail("the dtype of an output of no iterations is unknown");
  const int rank = inner.rank() + 1;
  if (axis < -rank || axis >= rank || rank > kMaxRank)
    return context_.fail("axis {} is out of range for rank {}", axis, rank);
  const auto at = static_cast<int>(axis < 0 ? axis + rank : axis);
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    shape.push_back(i == at ? static_cast<int64_t>(iterations_) : inner[i < at ? i : i - 1]);
  }
  std::byte* const to = context_.allocate(output, dtype, shape).raw();
  const int64_t outer = inner.elements(0, at);
  const size_t run = static_cast<size_t>(inner.elements(at, inner.rank())) * dtype_size(dtype);
  for (size_t k = 0; k < iterations_; ++k) {
    const std::byte* slice = memory_->reserve(0) + (reversed ? iterations_ - 1 - k : k) * iteration_bytes_ + offset;
    for (int64_t i = 0; run > 0 && i < outer; ++i) {
      const size_t position = static_cast<size_t>(i) * iterations_ + k;
      std::memcpy(to + position * run, slice + static_cast<size_t>(i) * run, run);
    }
  }
  return {};
}

Tensor slice_at(const Tensor& tensor, int axis, int64_t index, std::byte* memory) {
  Shape shape;
  for (int i = 0; i < tensor.shape().rank(); ++i) {
    if (i != axis) shape.push_back(tensor.shape()[i]);
  }
  const AxisSplit split = split_at(tensor.shape(), axis);
  const size_t run = static_cast<size_t>(split.inner) * dtype_size(tensor.dtype());
  auto position = [&](int64_t outer) { return static_cast<size_t>(outer * split.length + index) * run; };
  if (split.outer == 1) {
    return Tensor::view(tensor.dtype(), shape, const_cast<std::byte*>(tensor.raw()) + position(0));
  }
  for (int64_t outer = 0; run > 0 && outer < split.outer; ++outer) {
    std::memcpy(memory + static_cast<size_t>(outer) * run, tensor.raw() + position(outer), run);
  }
  return Tensor::view(tensor.dtype(), shape, memory);
}

}  // namespace hussar
