// INT8 products by 16-bit multiply-adds (AVX2, and AVX-512 without VNNI) and in scalar code.
#include "backends/cpu/kernels/int8/int8_tiles.h"
#include "backends/cpu/kernels/int8/sparse_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// In a file of its own.
void run_int8_depthwise(const Int8Args& args, Share share, void* scratch);

extern const Int8Table int8_table = {run_int8_share<Int8Tiles>, run_sparse_share<Int8Tiles>, run_int8_depthwise};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
