// Attention on bytes by 16-bit multiply-adds and in scalar code.
#include "backends/cpu/kernels/attention/attention_int8_driver.h"
#include "backends/cpu/kernels/int8/int8_tiles.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

extern const Int8AttentionTable int8_attention_table = {pack_int8_attention<Int8Tiles>, attend_int8<Int8Tiles>};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
