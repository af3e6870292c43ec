// conv_depthwise_int8: convolution of bytes with one channel and one filter per group.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/int8_steps.h"
#include "base/error.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

using namespace cpu;

struct Window {
  int64_t rows, columns;
};
Window window_of(const Shape& filter) {
  const int64_t rows = filter.rank() > 3 ? filter[2] : 1;
  return {rows, filter[filter.rank() - 1]};
}

Refusal supports(const Problem& problem) {
  if (problem.node.op != "hussar.QuantizedConv") return "op";
  if (auto refusal = check_conv(problem, DType::kUInt8)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  if (filter.rank() > 4) return "rank";
  if (filter[1] != 1 || problem.node.attributes.get_int("group", 1) != filter[0]) return "not depthwise";
  if (window_of(filter).rows > kInt8DepthwiseRows) return "rows of the window";
  return check_int8(problem, filter.elements(2, filter.rank()), filter[0]);
}

double cost(const Problem& problem) {
  const double elements = Problem::elements(problem.output());
  const Shape& filter = problem.input(1)->constant->shape();
  const Window window = window_of(filter);
  const auto groups = static_cast<double>((window.rows + kInt8DepthwiseTaps - 1) / kInt8DepthwiseTaps);
  // Cycles for 16 channels: the columns' taps are put together once for all pixels, then multiplied; then the end.
  const bool quads = problem.target.isa >= static_cast<int>(Isa::kAvx512);
  const double cycles = groups * (6 + static_cast<double>(window.columns) * (quads ? 1 : 4)) + (quads ? 10 : 20);
  return elements / 16 * cycles / 2.5e3 / problem.target.threads + 1;
}

Status pack(Packing& packing) {
  const Tensor filter = *packing.node.inputs[1]->constant;
  const Shape& shape = filter.shape();
  const auto [rows, columns] = window_of(shape);
  remember_kernel_shape(packing.node, shape);
  Tensor packed(DType::kInt8, {int8_depthwise_bytes(shape[0], rows, columns)});
  pack_int8_depthwise(filter.data<int8_t>(), shape[0], rows, columns, packed.data<int8_t>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) {
  const Shape shape = HUSSAR_TRY(recall_filter_shape(packing));
  const Tensor packed = *packing.node.inputs[1]->constant;
  const auto [rows, columns] = window_of(shape);
  const bool fits = shape[1] == 1 && shape.rank() <= 4 && packed.dtype() == DType::kInt8 &&
                    packed.elements() == int8_depthwise_bytes(shape[0], rows, columns);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {}", describe(packing.node),
               shape.to_string());
  Tensor unpacked(DType::kInt8, shape);
  unpack_int8_depthwise(packed.data<int8_t>(), shape[0], rows, columns, unpacked.data<int8_t>());
  packing.replace(1, std::move(unpacked));
  return {};
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<Int8State>();
  state = Int8State{};
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_conv_geometry(prepare, conv, DType::kInt8));
  bool fits = conv.kernel[0] == 1 && conv.channels == 1 && conv.filters == 1 && prepare.inputs[0].shape.rank() <= 4;
  fits = fits && conv.kernel[1] <= kInt8DepthwiseRows && conv.kernel[2] <= kQuantizedDepth;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': not a depthwise convolution", prepare.step.name);
  const int64_t taps = conv.kernel[1] * conv.kernel[2];
  HUSSAR_TRY(check_packed_weights(
      prepare, {int8_panel_count(conv.groups), int8_depthwise_block_bytes(conv.kernel[1], conv.kernel[2])}));
  HUSSAR_TRY(prepare_int8_epilogue(prepare, taps, state));
  const double work = static_cast<double>(prepare.outputs[0].shape.elements() * (taps + 4));
  state.shares = static_cast<int>(
      std::min<int64_t>(share_count(2 * work, prepare.threads), std::max<int64_t>(conv.batch * conv.out[1], 1)));
  state.scratch_per_share = int8_depthwise_scratch_bytes(conv.groups);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status run(const Run& run) { return run_int8_step(run, int8_depthwise(usable_isa(run.isa))); }

}  // namespace

extern const Kernel conv_depthwise_int8_kernel = {.name = "conv_depthwise_int8",
                                                  .state_bytes = sizeof(Int8State),
                                                  .multiplies_in = DType::kInt8,
                                                  .checks_shapes = true,
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic conv_depthwise_int8_tactic = {
    .kernel = "conv_depthwise_int8", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
