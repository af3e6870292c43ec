// INT8 products by vpdpbusd.
#include "backends/cpu/kernels/int8/int8_driver.h"
#include "backends/cpu/kernels/int8/int8_tiles_vnni.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_int8_product(const Int8Args& args, Share share, void* scratch) {
  run_int8_share<VnniTiles>(args, share, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
