// Attention on bytes by vpdpbusd.
#include "backends/cpu/kernels/attention/attention_int8_driver.h"
#include "backends/cpu/kernels/int8/int8_tiles_vnni.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

extern const Int8AttentionTable vnni_attention_table = {pack_int8_attention<VnniTiles>, attend_int8<VnniTiles>};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
