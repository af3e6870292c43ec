// INT8 products by vpdpbusd.
#include "backends/cpu/kernels/int8/int8_tiles_vnni.h"
#include "backends/cpu/kernels/int8/sparse_driver.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_int8_product(const Int8Args& args, Share share, void* scratch) {
  run_int8_share<VnniTiles>(args, share, scratch);
}
void run_int8_sparse(const Int8Args& args, Share share, void* scratch) {
  run_sparse_share<VnniTiles>(args, share, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
