// conv_int8: convolution of uint8 activations and int8 weights, 1 to 3 spatial dimensions, channels-last.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/int8_steps.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "hussar.QuantizedConv") return "op";
  if (auto refusal = check_conv(problem, DType::kUInt8)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  return check_int8(problem, filter.elements(1, filter.rank()), filter[0]);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t groups = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  const double rows = Problem::elements(problem.output()) / static_cast<double>(filter[0]);
  return int8_cost(problem, rows, filter.elements(1, filter.rank()), filter[0] / groups, groups);
}

std::vector<Configuration> configurations(const Problem& problem) {
  return int8_configurations(problem, cost(problem));
}

Status pack(Packing& packing) {
  const Tensor filter = *packing.node.inputs[1]->constant;
  const Shape& shape = filter.shape();
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = shape[0] / groups, k = shape.elements(1, shape.rank());
  remember_kernel_shape(packing.node, shape);
  const std::vector<int8_t> sorted = filter_by_taps<int8_t>(filter);
  Tensor packed(DType::kInt8, {groups * int8_weight_bytes(k, filters)});
  for (int64_t group = 0; group < groups; ++group) {
    pack_int8_weights(sorted.data() + group * filters * k, k, filters, 1, k,
                      packed.data<int8_t>() + group * int8_weight_bytes(k, filters));
  }
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) {
  const Shape shape = HUSSAR_TRY(recall_filter_shape(packing));
  const Tensor packed = *packing.node.inputs[1]->constant;
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = shape[0] / groups, k = shape.elements(1, shape.rank());
  const bool fits = k >= 1 && filters >= 1 && packed.dtype() == DType::kInt8 && packed.elements() % groups == 0 &&
                    packed.elements() / groups / int8_panel_bytes(k) == int8_panel_count(filters);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {}", describe(packing.node),
               shape.to_string());
  std::vector<int8_t> sorted(static_cast<size_t>(shape.elements()));
  for (int64_t group = 0; group < groups; ++group) {
    unpack_int8_weights(packed.data<int8_t>() + group * int8_weight_bytes(k, filters), k, filters, 1, k,
                        sorted.data() + group * filters * k);
  }
  packing.replace(1, filter_from_taps(sorted, DType::kInt8, shape));
  return {};
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv, DType::kInt8));
  return prepare_int8_product(prepare, state);
}

}  // namespace

extern const Kernel conv_int8_kernel = {.name = "conv_int8",
                                        .state_bytes = sizeof(Int8State),
                                        .multiplies_in = DType::kInt8,
                                        .checks_shapes = true,
                                        .prepare = prepare,
                                        .run = run_int8_product};
extern const Tactic conv_int8_tactic = {.kernel = "conv_int8",
                                        .supports = supports,
                                        .cost = cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
