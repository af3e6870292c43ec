// Attention on bytes on the matrix unit.
#include "backends/cpu/kernels/attention/attention_int8_driver.h"
#include "backends/cpu/kernels/int8/int8_tiles_amx.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

void pack(const Int8PackArgs& args, void* scratch) {
  configure_tiles();
  pack_int8_attention<MatrixTiles>(args, scratch);
  release_tiles();
}

void attend(const Int8AttendArgs& args, void* scratch) {
  configure_tiles();
  attend_int8<MatrixTiles>(args, scratch);
  release_tiles();
}

}  // namespace

extern const Int8AttentionTable matrix_attention_table = {pack, attend};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
