// cuda_product_norm: products on Hopper whose rows are normalized before they are written.
#include "backends/cuda/norm_product.h"

namespace hussar {

using namespace cuda;

extern const Kernel cuda_product_norm_kernel = {
    .name = "cuda_product_norm",
    .place = Place::kDevice,
    .state_bytes = sizeof(NormProduct),
    .prepare = [](Prepare& prepare) { return prepare_normalized(prepare, false); },
    .run = run_normalized};
extern const Tactic cuda_product_norm_tactic = {
    .kernel = "cuda_product_norm",
    .place = Place::kDevice,
    .supports = [](const Problem& problem) { return check_normalized(problem, false); },
    .cost = [](const Problem& problem) { return normalized_cost(problem, false); },
    .configurations = [](const Problem& problem) { return normalized_configurations(problem, false); },
    .pack = [](Packing& packing) { return pack_normalized(packing, false); },
    .unpack = [](Packing& packing) { return unpack_normalized(packing, false); }};

}  // namespace hussar
