// The functions behind TileTable, one file each. Internal to kernels/tile.
#pragma once
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_gemm(const GemmArgs& args, Share share, void* scratch);
void run_few_rows(const FewRowsArgs& args, Share share, void* scratch);
void run_pack(const PackArgs& args, Share share);
// Convolution of few channels: whether run_conv_lines takes it.
bool takes_lines(const ConvArgs& args);
void run_conv_lines(const ConvArgs& args, Share share, void* scratch);
void run_conv(const ConvArgs& args, Share share, void* scratch);
void run_conv_transpose(const ConvArgs& args, Share share, void* scratch);

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
