// Planning and running strided copies (kernels/copy/copy.h). Nothing here allocates.
#pragma once
#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/copy/copy.h"

namespace hussar::cpu {

// The axes of a block: sizes, and the elements from one index to the next on each side.
class CopyAxes {
 public:
  void add(int64_t size, int64_t in_stride, int64_t out_stride) { axes_[count_++] = {size, in_stride, out_stride}; }
  struct Axis {
    int64_t size, in_stride, out_stride;
  };
  int count() const { return count_; }
  const Axis& operator[](int axis) const { return axes_[axis]; }

 private:
  Axis axes_[kCopyAxes];
  int count_ = 0;
};

// How best to copy a block of elements of 1, 2, 4 or 8 bytes. Output strides are distinct places, never 0 unless the
// size is 1. An empty block gives a plan without units.
StridedCopy plan_copy(const CopyAxes& axes, int64_t element_size);

// Copies with up to `threads` threads.
void run_copy(const StridedCopy& plan, const std::byte* input, std::byte* output, ThreadPool::Lease& pool, int threads);

// The copy of a whole tensor between two operands of the same logical shape, in whatever layouts they have.
StridedCopy plan_whole_copy(const Operand& input, const Operand& output);

}  // namespace hussar::cpu
