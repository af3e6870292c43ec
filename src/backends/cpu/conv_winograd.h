// What the kernels and tactics of F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3) share; `output` is 2 or 4.
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/winograd/winograd.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

Refusal check_winograd(const Problem& problem);
double winograd_cost(const Problem& problem, int64_t output);
std::vector<Configuration> winograd_configurations(const Problem& problem, int64_t output);
Status pack_winograd(Packing& packing, int64_t output);
Status unpack_winograd(Packing& packing, int64_t output);

struct WinogradState {
  WinogradArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};

Status prepare_winograd(Prepare& prepare, int64_t output);
Status run_winograd(const Run& run);

}  // namespace hussar::cpu
