// The functions behind AttentionTable that have files of their own. Internal to kernels/attention.
#pragma once
#include "backends/cpu/kernels/attention/attention.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void attend_directly(const AttendArgs& args, float* scratch);
void pack_keys(const PackKeysArgs& args);

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
