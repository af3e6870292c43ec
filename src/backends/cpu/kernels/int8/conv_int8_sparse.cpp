// conv_int8_sparse: conv_int8 for weights that are 2:4 with masks that blocks of output channels share.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/int8_steps.h"
#include "backends/cpu/sparse_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "hussar.QuantizedConv") return "op";
  if (auto refusal = check_conv(problem, DType::kUInt8)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  if (auto refusal = check_int8(problem, filter.elements(1, filter.rank()), filter[0])) return refusal;
  return check_sparse(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const double rows = Problem::elements(problem.output()) / static_cast<double>(filter[0]);
  return int8_cost(problem, rows, filter.elements(1, filter.rank()), filter[0], 1) * sparse_share(problem, kInt8Gather);
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv, DType::kInt8));
  return prepare_int8_sparse(prepare, state);
}

}  // namespace

extern const Kernel conv_int8_sparse_kernel = {.name = "conv_int8_sparse",
                                               .state_bytes = sizeof(Int8State),
                                               .multiplies_in = DType::kInt8,
                                               .checks_shapes = true,
                                               .prepare = prepare,
                                               .run = run_int8_sparse};
extern const Tactic conv_int8_sparse_tactic = {
    .kernel = "conv_int8_sparse", .supports = supports, .cost = cost, .pack = pack_sparse, .unpack = unpack_sparse};

}  // namespace hussar
