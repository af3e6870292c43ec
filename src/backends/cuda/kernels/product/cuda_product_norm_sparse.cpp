// cuda_product_norm_sparse: products on Hopper whose rows are normalized, with weights of which two of four are zero,
// on Hopper's sparse tensor cores.
#include "backends/cuda/norm_product.h"

namespace hussar {

using namespace cuda;

extern const Kernel cuda_product_norm_sparse_kernel = {
    .name = "cuda_product_norm_sparse",
    .place = Place::kDevice,
    .state_bytes = sizeof(NormProduct),
    .checks_shapes = true,
    .prepare = [](Prepare& prepare) { return prepare_normalized(prepare, true); },
    .run = run_normalized};
extern const Tactic cuda_product_norm_sparse_tactic = {
    .kernel = "cuda_product_norm_sparse",
    .place = Place::kDevice,
    .two_of_four = true,
    .supports = [](const Problem& problem) { return check_normalized(problem, true); },
    .cost = [](const Problem& problem) { return normalized_cost(problem, true); },
    .configurations = [](const Problem& problem) { return normalized_configurations(problem, true); },
    .pack = [](Packing& packing) { return pack_normalized(packing, true); },
    .unpack = [](Packing& packing) { return unpack_normalized(packing, true); }};

}  // namespace hussar
