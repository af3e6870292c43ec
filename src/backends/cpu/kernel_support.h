// What the adapters of the CPU kernels share: refusals, predicted times, partitions of the work, strides of operands.
#pragma once
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "backends/cpu/share.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

inline bool is_one_of(std::string_view op, std::initializer_list<std::string_view> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

// "op" for other operators, "fused program" where a kernel has no epilogue, else nothing.
inline Refusal refuse_op(const Problem& problem, std::initializer_list<std::string_view> ops) {
  if (!is_one_of(problem.node.op, ops)) return "op";
  if (problem.node.program) return "fused program";
  return std::nullopt;
}

// True when every tensor of the node that is present has the layout.
inline bool all_have_layout(const Problem& problem, Layout layout) {
  auto fits = [layout](const Value* value) { return value == nullptr || value->layout == layout; };
  return std::all_of(problem.node.inputs.begin(), problem.node.inputs.end(), fits) &&
         std::all_of(problem.node.outputs.begin(), problem.node.outputs.end(), fits);
}

inline double bytes_of(const Value* value) {
  return value == nullptr ? 0 : Problem::elements(value) * static_cast<double>(dtype_size(value->dtype));
}

// What one thread moves in a microsecond, reads and writes together.
inline constexpr double kBytesPerMicrosecond = 8e3;

// The time to read the inputs and write the outputs once, slowed down by `factor`, plus what a step costs anyway.
inline double memory_cost(const Problem& problem, double factor = 1) {
  double bytes = 0;
  for (const Value* value : problem.node.inputs) bytes += bytes_of(value);
  for (const Value* value : problem.node.outputs) bytes += bytes_of(value);
  return 0.5 + factor * bytes / (kBytesPerMicrosecond * std::max(problem.target.threads, 1));
}

// Into how many shares to cut work that takes one thread `microseconds`: 1 when waking a worker would cost more than it
// brings, otherwise a few per thread, so that a thread that is late holds nobody up. Never more than `units`.
inline int share_count(double microseconds, int threads, int64_t units) {
  constexpr double kSmallWork = 5, kSmallShare = 10;
  if (threads <= 1 || microseconds < kSmallWork || units <= 1) return 1;
  double wanted = std::clamp(microseconds / kSmallShare, static_cast<double>(threads), 4.0 * threads);
  return static_cast<int>(std::min<int64_t>(static_cast<int64_t>(wanted), units));
}

struct Range {
  int64_t begin = 0, end = 0;
};

// The units of one share of `total`.
inline Range range_of(int64_t total, Share share) {
  return {total * share.index / share.count, total * (share.index + 1) / share.count};
}

// Elements from one index of each axis to the next, as the operand lies in memory.
struct Strides {
  int64_t values[kMaxRank] = {};
  int64_t operator[](int axis) const { return values[axis]; }
  int64_t& operator[](int axis) { return values[axis]; }
};

inline Strides strides_of(const Operand& operand) {
  Strides strides;
  int rank = operand.shape.rank();
  int64_t stride = 1;
  if (operand.layout == Layout::kChannelsLast) {
    strides[1] = 1;
    stride = operand.pitch;
    for (int axis = rank - 1; axis >= 2; --axis) {
      strides[axis] = stride;
      stride *= operand.shape[axis];
    }
    strides[0] = stride;
    return strides;
  }
  for (int axis = rank - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= operand.shape[axis];
  }
  return strides;
}

// The elements of a short int32 or int64 operand, converted without allocating.
struct SmallInts {
  int64_t values[2 * kMaxRank] = {};
  int count = 0;
  int64_t operator[](int index) const { return values[index]; }
};
inline SmallInts small_ints(std::span<const Operand> operands, size_t index) {
  SmallInts result;
  if (index >= operands.size() || !operands[index].present()) return result;
  const Operand& operand = operands[index];
  result.count = static_cast<int>(std::min<int64_t>(operand.shape.elements(), 2 * kMaxRank));
  for (int i = 0; i < result.count; ++i) {
    result.values[i] = operand.dtype == DType::kInt32 ? operand.as<int32_t>()[i] : operand.as<int64_t>()[i];
  }
  return result;
}
// True when the operands from `first` on that are present have their data, so that prepare() may read them.
inline bool have_data(std::span<const Operand> operands, size_t first) {
  for (size_t i = first; i < operands.size(); ++i) {
    if (operands[i].present() && operands[i].data == nullptr && operands[i].shape.elements() > 0) return false;
  }
  return true;
}

// An axis attribute counted from the front.
inline int axis_from_front(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

// [outer][length][inner] around the axes [first, last).
struct AxisBlock {
  int64_t outer = 1, length = 1, inner = 1;
};
inline AxisBlock block_around(const Shape& shape, int first, int last) {
  return {shape.elements(0, first), shape.elements(first, last), shape.elements(last, shape.rank())};
}

}  // namespace hussar::cpu
