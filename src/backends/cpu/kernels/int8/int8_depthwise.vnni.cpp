#include "backends/cpu/kernels/int8/int8_depthwise.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_int8_depthwise(const Int8Args& args, Share share, void* scratch) { run_depthwise_share(args, share, scratch); }

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
