// What this machine can do at most, measured in some 50 ms: the roofline that kernels are judged by.
#pragma once
#include "backends/cpu/isa.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar::cpu {

struct Peaks {
  int threads = 1;
  // Of all threads together, per second. FP32 multiply-adds in vector registers; a matrix unit may do more.
  double flops = 0;
  double int8_ops = 0;  // products of bytes and their sums, with what the level has for them
  // Bytes that loads bring, by where the data lie.
  double l2_bytes = 0, l3_bytes = 0, memory_bytes = 0;

  // Bytes per second for a step that touches so many bytes: it finds them where they fit.
  double bandwidth(double bytes) const;
  // The least microseconds for so much work of a kernel that multiplies in this type; kUndefined: FP32.
  double microseconds(double step_flops, double bytes, DType multiplies_in = DType::kUndefined) const;
};

// Takes the shared thread pool while it measures.
Peaks measure_peaks(Isa isa, int threads);

}  // namespace hussar::cpu
