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

// parts: bfloat16 of a number, 2 for FP32 and 1 for BF16 (matrix_product.h).

// Whether the unit takes the convolution, or the product with a constant matrix.
Refusal check_matrix_conv(const Problem& problem, int parts);
Refusal check_matrix_matmul(const Problem& problem, int parts);

// Predicted microseconds.
double matrix_conv_cost(const Problem& problem, int parts);
double matrix_matmul_cost(const Problem& problem, int parts);

// The cuts that are worth measuring; `usual`: the cost.
std::vector<Configuration> matrix_configurations(const Problem& problem, double usual);

// The weights of the node to the form of matrix_packing.h.
Status pack_matrix_conv(Packing& packing, int parts);
Status pack_matrix_matmul(Packing& packing, int parts);
// The sums of the high and low parts of packed weights, tile after tile: 16 bits and more of what was split.
std::vector<float> decode_matrix_weights(const Tensor& packed);

// Fail on machines without the unit.
Status prepare_matrix_conv(Prepare& prepare, int parts);
Status prepare_matrix_matmul(Prepare& prepare, int parts);
Status run_matrix_step(const Run& run);

}  // namespace hussar::cpu
