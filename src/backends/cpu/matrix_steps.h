// What the matrix unit's kernels share: when they are asked, what they cost, how their steps are prepared and run.
#pragma once
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/amx/matrix_product.h"

namespace hussar::cpu {

struct MatrixState {
  MatrixArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};

Refusal check_matrix_unit(const Problem& problem);

// The sums of the high and low parts of packed weights, tile after tile: 16 bits and more of what was split.
std::vector<float> decode_matrix_weights(const Tensor& packed);

// A product of `rows` rows; k and columns as padded.
double matrix_microseconds(const Problem& problem, double rows, double k, double columns);

// The cuts that are worth measuring; `usual`: the cost.
std::vector<Configuration> matrix_configurations(const Problem& problem, double usual);

// From state.args.conv, which is filled in and checked, to the rest of the state. Fails on machines without the unit.
Status prepare_matrix_product(Prepare& prepare, int32_t bias_input, MatrixState& state);
Status run_matrix_step(const Run& run);

}  // namespace hussar::cpu
