// conv_winograd4: 3 x 3 FP32 convolution of stride 1 by F(4 x 4, 3 x 3).
#include "backends/cpu/conv_winograd.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int64_t kOutput = 4;

double cost(const Problem& problem) { return winograd_cost(problem, kOutput); }
std::vector<Configuration> configurations(const Problem& problem) { return winograd_configurations(problem, kOutput); }
Status pack(Packing& packing) { return pack_winograd(packing, kOutput); }
Status unpack(Packing& packing) { return unpack_winograd(packing, kOutput); }
Status prepare(Prepare& prepare) { return prepare_winograd(prepare, kOutput); }

}  // namespace

extern const Kernel conv_winograd4_kernel = {.name = "conv_winograd4",
                                             .state_bytes = sizeof(WinogradState),
                                             .checks_shapes = true,
                                             .prepare = prepare,
                                             .run = run_winograd};
extern const Tactic conv_winograd4_tactic = {.kernel = "conv_winograd4",
                                             .supports = check_winograd,
                                             .cost = cost,
                                             .configurations = configurations,
                                             .pack = pack,
                                             .unpack = unpack};

}  // namespace hussar
