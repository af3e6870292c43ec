// Axes are sorted by how far apart they lie in the output, merged where both sides allow it, and the innermost ones
// decide between runs, fills, transposes and element loops.
#include "backends/cpu/strided_copy.h"

#include <cstdlib>

namespace hussar::cpu {
namespace {

struct Axis {
  int64_t size, in, out;  // strides in bytes
};

struct Axes {
  Axis list[kCopyAxes];
  int count = 0;
};

Axes sorted(const CopyAxes& axes, int64_t element_size) {
  Axes result;
  for (int i = 0; i < axes.count(); ++i) {
    if (axes[i].size == 1) continue;
    Axis axis{axes[i].size, axes[i].in_stride * element_size, axes[i].out_stride * element_size};
    int at = result.count++;
    for (; at > 0 && std::llabs(result.list[at - 1].out) < std::llabs(axis.out); --at) {
      result.list[at] = result.list[at - 1];
    }
    result.list[at] = axis;
  }
  return result;
}

// Joins neighbours that step through memory as one axis would.
void merge(Axes& axes) {
  int kept = 0;
  for (int i = 1; i < axes.count; ++i) {
    Axis& outer = axes.list[kept];
    const Axis& inner = axes.list[i];
    if (outer.in == inner.in * inner.size && outer.out == inner.out * inner.size) {
      outer = {outer.size * inner.size, inner.in, inner.out};
    } else {
      axes.list[++kept] = inner;
    }
  }
  if (axes.count > 0) axes.count = kept + 1;
}

void remove(Axes& axes, int at) {
  for (int i = at + 1; i < axes.count; ++i) axes.list[i - 1] = axes.list[i];
  --axes.count;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Sets the kind and takes the axes that it covers out of the list.
void choose_kind(StridedCopy& plan, Axes& axes, int64_t element_size) {
  plan.element_size = static_cast<int32_t>(element_size);
  if (axes.count == 0) {
    plan.kind = StridedCopy::kRows;
    plan.run = element_size;
    plan.pieces = 1;
    return;
  }
  const Axis last = axes.list[axes.count - 1];
  if (last.in == element_size && last.out == element_size) {
    plan.run = last.size * element_size;
    remove(axes, axes.count - 1);
    bool is_element = plan.run <= 16 && (plan.run & (plan.run - 1)) == 0;
    if (is_element && axes.count > 0 && plan.run > element_size) return choose_kind(plan, axes, plan.run);
    plan.kind = StridedCopy::kRows;
    plan.pieces = divide_up(plan.run, kCopyPieceBytes);
    return;
  }
  int across = -1;
  for (int i = 0; i < axes.count - 1; ++i) {
    if (axes.list[i].in == element_size) across = i;
  }
  if (last.out == element_size && across >= 0) {
    plan.kind = StridedCopy::kTranspose;
    plan.rows = last.size;
    plan.columns = axes.list[across].size;
    plan.row_in = last.in;
    plan.column_out = axes.list[across].out;
    plan.pieces = divide_up(plan.columns, kTransposeColumns) * divide_up(plan.rows, kTransposeRows);
    remove(axes, axes.count - 1);
    remove(axes, across);
    return;
  }
  plan.kind = last.in == 0 && last.out == element_size ? StridedCopy::kFill : StridedCopy::kElements;
  plan.run = last.size;
  plan.run_in = last.in;
  plan.run_out = last.out;
  plan.pieces = divide_up(plan.run, kCopyPieceBytes / element_size);
  remove(axes, axes.count - 1);
}

}  // namespace

StridedCopy plan_copy(const CopyAxes& axes, int64_t element_size) {
  StridedCopy plan{};
  int64_t elements = 1;
  for (int i = 0; i < axes.count(); ++i) elements *= axes[i].size;
  if (elements == 0) return plan;
  plan.bytes = 2.0 * static_cast<double>(elements * element_size);
  Axes list = sorted(axes, element_size);
  merge(list);
  choose_kind(plan, list, element_size);
  plan.units = plan.pieces;
  plan.loops = list.count;
  for (int i = 0; i < list.count; ++i) {
    plan.dims[i] = list.list[i].size;
    plan.in_strides[i] = list.list[i].in;
    plan.out_strides[i] = list.list[i].out;
    plan.units *= list.list[i].size;
  }
  return plan;
}

void run_copy(const StridedCopy& plan, const std::byte* input, std::byte* output, ThreadPool::Lease& pool,
              int threads) {
  if (plan.units == 0) return;
  const CopyTable& table = select_copy_table(active_isa());
  // Anything but long runs moves fewer bytes in the same time.
  double factor = plan.kind == StridedCopy::kRows && plan.run >= 64 ? 1 : 2;
  int shares = share_count(factor * plan.bytes / kBytesPerMicrosecond, threads, plan.units);
  if (shares == 1) return table.run(plan, input, output, 0, plan.units);
  pool.run(shares, [&](int index) {
    Range range = range_of(plan.units, {index, shares});
    table.run(plan, input, output, range.begin, range.end);
  });
}

StridedCopy plan_whole_copy(const Operand& input, const Operand& output) {
  Strides in = strides_of(input), out = strides_of(output);
  CopyAxes axes;
  for (int axis = 0; axis < input.shape.rank(); ++axis) axes.add(input.shape[axis], in[axis], out[axis]);
  return plan_copy(axes, static_cast<int64_t>(dtype_size(input.dtype)));
}

}  // namespace hussar::cpu
