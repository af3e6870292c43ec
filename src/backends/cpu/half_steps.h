// What the FP16 kernels share: when they are asked, what they cost, how their steps are prepared and run.
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/half/half_product.h"

namespace hussar::cpu {

struct HalfState {
  HalfArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};

// Whether the target has the instructions, and is allowed to use them.
Refusal check_half_target(const Problem& problem);
// Whether FP16 can hold the weights.
Refusal check_half_weights(const Tensor& weights);

// By which factor a product takes longer than its multiplications: for the columns beyond the last one, the gathering
// of rows, and the starts, ends and flushes of register tiles.
double half_waste(int64_t k, int64_t filters);
// Predicted microseconds with dense weights.
double half_conv_cost(const Problem& problem);
double half_matmul_cost(const Problem& problem);
// The cuts of a dense product of `rows` rows that are worth measuring; `usual`: its cost.
std::vector<Configuration> half_configurations(const Problem& problem, int64_t groups, double rows, int64_t k,
                                               int64_t filters, double usual);
// With sparse weights, for sparse_share: two shuffles keep what a panel of 16 columns multiplies in 16 cycles, and
// tiles of half the k end as late as others.
inline constexpr double kHalfGather = 0.2;

// Packed weights back to FP32, in place; for unpack_permuted, of which they keep kHalfProbeBits exactly.
std::vector<float> decode_half_weights(const Tensor& packed);
inline constexpr int kHalfProbeBits = 11;

// From state.args.conv, which is filled in and checked but for the size of the weights, to the rest of the state. Fails
// on machines without the instructions.
Status prepare_half_product(Prepare& prepare, int32_t bias_input, HalfState& state);
// The same for sparse weights (sparse_steps.h).
Status prepare_half_sparse(Prepare& prepare, int32_t bias_input, HalfState& state);
Status run_half_step(const Run& run);

}  // namespace hussar::cpu
