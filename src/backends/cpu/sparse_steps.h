// What the tactics for sparse weights share (sparse_packing.h).
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/tile/sparse_product.h"
#include "backends/cpu/sparse_packing.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// Why the weights have no sparse form. The problem is one that the dense kernels take.
Refusal check_sparse(const Problem& problem);

// The same of the form in FP16, whose panels are 32 columns, and whether the target has and may use FP16.
Refusal check_half_sparse(const Problem& problem);

// What the time of a dense kernel that is bound by arithmetic is to be multiplied by. `gather`: what keeping a row's
// elements for one panel of columns costs, of the time to multiply it by that panel.
double sparse_share(const Problem& problem, double gather);

Status pack_sparse(Packing& packing);       // in the type of the weights
Status pack_half_sparse(Packing& packing);  // as FP16
Status unpack_sparse(Packing& packing);

// ---- FP32 ----------------------------------------------------------------------------------------------------------

inline constexpr double kFloatGather = 0.02;

struct SparseState {
  SparseArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};
// From state.args.conv, which is filled in and checked but for the size of the weights, to the rest of the state.
Status prepare_sparse_product(Prepare& prepare, int32_t bias_input, SparseState& state);
Status run_sparse_product(const Run& run);

}  // namespace hussar::cpu
