// Strides, broadcasting, and merging of loops.
#include "backends/cuda/loop_nest.h"

#include <algorithm>

#include "base/error.h"

namespace hussar::cuda {
namespace {

constexpr int64_t kAnyDimension = 61;

// Logical axes in the order of memory, outermost first.
void memory_order(const Operand& operand, int* order) {
  const int rank = operand.shape.rank();
  for (int axis = 0; axis < rank; ++axis) order[axis] = axis;
  if (operand.layout != Layout::kChannelsLast || rank < 3) return;
  for (int axis = 1; axis + 1 < rank; ++axis) order[axis] = axis + 1;
  order[rank - 1] = 1;
}

bool can_merge(const LoopNest& nest, int outer) {
  for (int t = 0; t < nest.tensors; ++t) {
    if (nest.strides[t][outer] != nest.strides[t][outer + 1] * nest.dims[outer + 1]) return false;
  }
  return true;
}

void erase_axis(LoopNest& nest, int axis) {
  for (int i = axis; i + 1 < nest.rank; ++i) {
    nest.dims[i] = nest.dims[i + 1];
    for (int t = 0; t < nest.tensors; ++t) nest.strides[t][i] = nest.strides[t][i + 1];
  }
  --nest.rank;
}

}  // namespace

void merge(LoopNest& nest) {
  for (int axis = nest.rank - 1; axis >= 0 && nest.rank > 1; --axis) {
    if (nest.dims[axis] == 1) erase_axis(nest, axis);
  }
  for (int axis = nest.rank - 2; axis >= 0; --axis) {
    if (!can_merge(nest, axis)) continue;
    nest.dims[axis + 1] *= nest.dims[axis];
    erase_axis(nest, axis);
  }
}

int64_t LoopNest::elements() const {
  int64_t total = 1;
  for (int axis = 0; axis < rank; ++axis) total *= dims[axis];
  return total;
}

int LoopNest::vector() const {
  for (int width : {8, 4, 2}) {
    bool fits = dims[rank - 1] % width == 0;
    for (int t = 0; t < tensors; ++t) {
      const int64_t inner = strides[t][rank - 1];
      fits = fits && (inner == 1 || (inner == 0 && t > 0));
      for (int axis = 0; inner == 1 && axis < rank - 1; ++axis) fits = fits && strides[t][axis] % width == 0;
    }
    if (fits) return width;
  }
  return 1;
}

void strides_of(const Operand& operand, int64_t (&strides)[kMaxRank]) {
  const int rank = operand.shape.rank();
  int order[kMaxRank] = {};
  memory_order(operand, order);
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    strides[order[i]] = stride;
    const bool is_channel = operand.layout == Layout::kChannelsLast && rank >= 2 && order[i] == 1;
    stride *= is_channel ? operand.pitch : operand.shape[order[i]];
  }
}

Result<LoopNest> loop_nest(std::span<const Operand> inputs, const Operand& output) {
  LoopNest nest;
  const int rank = output.shape.rank();
  nest.rank = std::max(rank, 1);
  nest.tensors = static_cast<int>(inputs.size()) + 1;
  HUSSAR_CHECK(nest.tensors <= kNestTensors, ErrorCode::kPlanIncompatible, "{} operands are too many", inputs.size());
  int order[kMaxRank] = {};
  memory_order(output, order);
  nest.dims[0] = 1;
  for (int axis = 0; axis < rank; ++axis) nest.dims[axis] = output.shape[order[axis]];
  for (int t = 0; t < nest.tensors; ++t) {
    const Operand& operand = t == 0 ? output : inputs[static_cast<size_t>(t - 1)];
    const int shift = rank - operand.shape.rank();
    bool fits = shift >= 0;
    int64_t own[kMaxRank] = {}, aligned[kMaxRank] = {};
    strides_of(operand, own);
    for (int axis = 0; fits && axis < operand.shape.rank(); ++axis) {
      fits = operand.shape[axis] == 1 || operand.shape[axis] == output.shape[axis + shift];
      aligned[axis + shift] = operand.shape[axis] == 1 ? 0 : own[axis];
    }
    HUSSAR_CHECK(fits, ErrorCode::kUsage, "an operand of shape {} cannot be broadcast to {}", operand.shape.to_string(),
                 output.shape.to_string());
    for (int axis = 0; axis < rank; ++axis) nest.strides[t][axis] = aligned[order[axis]];
  }
  merge(nest);
  return nest;
}

Operand operand_of(const Value& value) {
  const Dim::Lookup any = [](std::string_view) { return std::optional<int64_t>(kAnyDimension); };
  Operand operand{value.dtype, {}, value.layout, 1, nullptr};
  for (const Dim& dim : *value.dims) {
    const int64_t size = dim.evaluate(any).value_or(kAnyDimension);
    // What is computed from symbols (N - 1) could be even by accident.
    operand.shape.push_back(dim.is_constant() ? size : size | 1);
  }
  if (value.is_constant()) operand.data = const_cast<std::byte*>(value.constant->raw());
  const Value* root = &value;
  while (root->slice_of != nullptr) root = root->slice_of;
  const Dims& dims = *root->dims;
  operand.pitch = dims.size() > 1 ? (dims[1].is_constant() ? dims[1].value() : kAnyDimension) : 1;
  return operand;
}

int64_t offset_in_holder(const Value& value) {
  int64_t offset = 0;
  for (const Value* part = &value; part->slice_of != nullptr; part = part->slice_of) offset += part->channel_offset;
  return offset;
}

}  // namespace hussar::cuda
