// Elementwise operators with multidirectional broadcasting as lines: runs of contiguous output elements, along which
// every operand is contiguous too or stays at one element. Nothing here allocates.
#pragma once
#include <cstdint>

#include "backends/cpu/kernel_support.h"

namespace hussar::cpu {

constexpr int kBroadcastOperands = 3;

struct BroadcastPlan {
  int64_t line;                    // elements of one line
  bool moves[kBroadcastOperands];  // along the line; false: one element for all of it
  int32_t loops;
  int64_t dims[kMaxRank];
  int64_t strides[kBroadcastOperands][kMaxRank];  // elements
  int64_t pieces;                                 // that a line is cut into
  int64_t units;                                  // lines * pieces; 0 when there is nothing to do
};

constexpr int64_t kBroadcastPiece = 16384;  // elements

// The first `operands` inputs against the output: all plain, or all channels-last and of one rank, without gaps
// between the pixels.
BroadcastPlan plan_broadcast(std::span<const Operand> inputs, int operands, const Operand& output);

// Calls visit(offsets of the operands, offset of the output, count), all in elements, for the units of a range.
template <class Visit>
void for_each_line(const BroadcastPlan& plan, Range range, Visit&& visit) {
  for (int64_t unit = range.begin; unit < range.end; ++unit) {
    int64_t line = unit / plan.pieces, first = unit % plan.pieces * kBroadcastPiece;
    int64_t offsets[kBroadcastOperands];
    for (int k = 0; k < kBroadcastOperands; ++k) offsets[k] = plan.moves[k] ? first : 0;
    int64_t rest = line;
    for (int axis = plan.loops - 1; axis >= 0; --axis) {
      int64_t at = rest % plan.dims[axis];
      rest /= plan.dims[axis];
      for (int k = 0; k < kBroadcastOperands; ++k) offsets[k] += at * plan.strides[k][axis];
    }
    visit(offsets, line * plan.line + first, std::min(kBroadcastPiece, plan.line - first));
  }
}

}  // namespace hussar::cpu
