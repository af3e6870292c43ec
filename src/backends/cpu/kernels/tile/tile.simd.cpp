#include "backends/cpu/kernels/tile/tile.h"

#include "backends/cpu/kernels/tile/tile_drivers.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

extern const TileTable tile_table = {run_gemm, run_few_rows, run_pack, run_conv, run_conv_transpose};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
