#include "backends/cpu/kernels/half/half_product.h"

#include "backends/cpu/kernels/half/half_tiles.h"
#include "backends/cpu/kernels/half/half_vec.h"
#include "backends/cpu/kernels/half/narrow_product.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_half_product(const HalfArgs& args, Share share, void* scratch) {
  run_narrow_share<HalfTiles, Halves>(args.conv, args.weights, share, scratch);
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
