// Loops that do nothing but multiply-add, or nothing but load: what a core can do at most.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

struct PeakTable {
  // Runs `iterations` of the loop on registers and returns the floating-point operations done (2 per multiply-add).
  double (*multiply_add)(int64_t iterations);
  // Reads `count` floats, a multiple of 256, from memory aligned to 64 bytes. The result depends on all of them.
  float (*read)(const float* data, int64_t count);
  // As multiply_add, with the instructions of the INT8 kernels.
  double (*multiply_add_bytes)(int64_t iterations);
};

HUSSAR_DECLARE_PER_ISA(PeakTable, peak_table)

// The same for what has INT8 instructions of its own.
namespace avx512vnni {
double multiply_add_bytes(int64_t iterations);
}
namespace amx {
double multiply_add_bytes(int64_t iterations);
}

}  // namespace hussar::cpu
