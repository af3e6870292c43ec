// Products on Hopper whose rows are normalized before they are written (ops/product_norm.h), by a cluster of blocks
// that hold a row together. `sparse`: two of four weights are zero.
#pragma once
#include "backends/cuda/hopper_product.h"

namespace hussar::cuda {

Refusal check_normalized(const Problem& problem, bool sparse);
double normalized_cost(const Problem& problem, bool sparse);
std::vector<Configuration> normalized_configurations(const Problem& problem, bool sparse);
Status pack_normalized(Packing& packing, bool sparse);
Status unpack_normalized(Packing& packing, bool sparse);

// The state of the kernels.
struct NormProduct {
  HopperProduct product;
  size_t own;  // inputs before those of the program
  float epsilon;
};
Status prepare_normalized(const Prepare& prepare, bool sparse);
Status run_normalized(const Run& run);

}  // namespace hussar::cuda
