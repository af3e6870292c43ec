// What kernels do that run device/simple_product.cuh: its text, the time that it takes, and launches.
#pragma once
#include "backends/cuda/epilogue_source.h"
#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Microseconds: blocks walk along k, whatever they have to do in each step.
double simple_time(int64_t m, int64_t n, int64_t k, int64_t batch);

// Compiles the node's program and `operands`, which defines struct Operands and where its elements are.
Status attach_simple(Packing& packing, Defines& defines, std::string_view operands);
// The `unpack` of kernels that pack nothing else.
Status forget_simple(Packing& packing);

struct SimpleLaunch {
  Launch launch;
  int64_t m, n, k;
  EpilogueState epilogue;
};
Status prepare_simple(const Prepare& prepare, int64_t m, int64_t n, int64_t k, int64_t batch, SimpleLaunch& launch);
// `operands`: struct Operands.
Status launch_simple(const Run& run, const SimpleLaunch& launch, Words& operands);

}  // namespace hussar::cuda
