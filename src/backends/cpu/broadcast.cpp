// Neighbouring axes along which every operand behaves alike are merged; the innermost group is the line.
#include "backends/cpu/broadcast.h"

namespace hussar::cpu {

BroadcastPlan plan_broadcast(std::span<const Operand> inputs, int operands, const Operand& output) {
  BroadcastPlan plan{};
  const Shape& shape = output.shape;
  struct Axis {
    int64_t size;
    int64_t strides[kBroadcastOperands];
  };
  Axis axes[kMaxRank + 1];
  int count = 0;
  const bool channels_last = output.layout == Layout::kChannelsLast;
  for (int place = 0; place < shape.rank(); ++place) {
    const int axis = !channels_last || place == 0 ? place : place + 1 < shape.rank() ? place + 1 : 1;
    if (shape[axis] == 1) continue;
    Axis next{shape[axis], {}};
    for (int k = 0; k < operands; ++k) {
      const Operand& operand = inputs[static_cast<size_t>(k)];
      int at = axis - (shape.rank() - operand.shape.rank());
      bool moves = at >= 0 && operand.shape[at] != 1;
      next.strides[k] = moves ? strides_of(operand)[at] : 0;
    }
    bool joins = count > 0;
    for (int k = 0; joins && k < operands; ++k) joins = axes[count - 1].strides[k] == next.strides[k] * next.size;
    if (joins) next.size *= axes[--count].size;
    axes[count++] = next;
  }
  plan.line = 1;
  if (count > 0) {
    const Axis& last = axes[--count];
    plan.line = last.size;
    for (int k = 0; k < operands; ++k) plan.moves[k] = last.strides[k] != 0;
  }
  plan.pieces = (plan.line + kBroadcastPiece - 1) / kBroadcastPiece;
  plan.units = plan.pieces;
  plan.loops = count;
  for (int i = 0; i < count; ++i) {
    plan.dims[i] = axes[i].size;
    plan.units *= axes[i].size;
    for (int k = 0; k < operands; ++k) plan.strides[k][i] = axes[i].strides[k];
  }
  if (shape.elements() == 0) plan.units = 0;
  return plan;
}

}  // namespace hussar::cpu
