// conv_sparse: FP32 convolution with weights that are 2:4 with masks that blocks of output channels share.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/kernels/tile/sparse_product.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_conv(problem)) return refusal;
  if (auto refusal = check_epilogue(problem)) return refusal;
  return check_sparse(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t k = filter.elements(1, filter.rank());
  return tile_conv_cost(problem.target, conv_flops(problem), 1, filter[0], k) * sparse_share(problem, kFloatGather);
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<SparseState>();
  state = SparseState{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv));
  return prepare_sparse_product(prepare, bias_input(prepare), state);
}

}  // namespace

extern const Kernel conv_sparse_kernel = {.name = "conv_sparse",
                                          .state_bytes = sizeof(SparseState),
                                          .checks_shapes = true,
                                          .prepare = prepare,
                                          .run = run_sparse_product};
extern const Tactic conv_sparse_tactic = {
    .kernel = "conv_sparse", .supports = supports, .cost = cost, .pack = pack_sparse, .unpack = unpack_sparse};

}  // namespace hussar
