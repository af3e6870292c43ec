#include "backends/cpu/kernels/amx/matrix_unit.h"
#include "backends/cpu/kernels/peak/peak.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// Four tiles of sums hide the latency of one unit.
double multiply_add_bytes(int64_t iterations) {
  alignas(64) static constexpr uint8_t kOperand[1024] = {};
  configure_tiles();
  zero_tiles<2, 2>();
  load_tile<4>(kOperand, 64);
  load_tile<6>(kOperand, 64);
  for (int64_t i = 0; i < iterations; ++i) {
    multiply_add_bytes<0, 4, 6>();
    multiply_add_bytes<1, 4, 6>();
    multiply_add_bytes<2, 4, 6>();
    multiply_add_bytes<3, 4, 6>();
  }
  release_tiles();
  return 2.0 * 4 * 16 * 16 * 64 * static_cast<double>(iterations);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
