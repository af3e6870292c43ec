// What the BF16 kernels share: when they are asked, what they cost, how their steps are prepared and run.
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/bfloat/bfloat_product.h"

namespace hussar::cpu {

struct BfloatState {
  BfloatArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};

// Whether the target has the instructions, and is allowed to use them.
Refusal check_bfloat_target(const Problem& problem);

// Predicted microseconds of `rows` x k x filters in each of `groups` groups.
double bfloat_cost(const Problem& problem, double rows, int64_t k, int64_t filters, int64_t groups);
// The cuts of such a product that are worth measuring.
std::vector<Configuration> bfloat_configurations(const Problem& problem, double rows, int64_t k, int64_t filters,
                                                 int64_t groups);

// Packed weights back to FP32, in place; for unpack_permuted, of which they keep kBfloatProbeBits exactly.
std::vector<float> decode_bfloat_weights(const Tensor& packed);
inline constexpr int kBfloatProbeBits = 8;

// That the machine has the instructions, where `type` is BF16.
Status check_bfloat_machine(const Prepare& prepare, DType type = DType::kBFloat16);
// That input 1 is as large as the packed weights of such a convolution.
Status check_bfloat_weights(const Prepare& prepare, const ConvArgs& conv);

// From state.args.conv, which is filled in and checked but for the size of the weights, to the rest of the state. Fails
// on machines without the instructions.
Status prepare_bfloat_product(Prepare& prepare, int32_t bias_input, BfloatState& state);
Status run_bfloat_step(const Run& run);

}  // namespace hussar::cpu
