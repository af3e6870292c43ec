// quantize_axis: QuantizeLinear and DequantizeLinear between float32 and integers of 8 or 16 bits, with one scale or
// one per index of any axis, which may come from the run. Plain tensors.
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/axis_conversion.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t outer, length, inner;
  int type;
  int32_t shares;
  bool to_integers;
};

// The place in the tables; -1: none.
int integer_type(DType dtype) {
  switch (dtype) {
    case DType::kUInt8: return 0;
    case DType::kInt8: return 1;
    case DType::kUInt16: return 2;
    case DType::kInt16: return 3;
    default: return -1;
  }
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"QuantizeLinear", "DequantizeLinear"})) return refusal;
  const bool to_integers = problem.node.op == "QuantizeLinear";
  const DType from = problem.dtype(0), to = problem.output()->dtype, integers = to_integers ? to : from;
  if ((to_integers ? from : to) != DType::kFloat32 || integer_type(integers) < 0) return "dtype";
  if (problem.dtype(1) != DType::kFloat32) return "dtype of the scale";
  if (problem.input(2) != nullptr && problem.dtype(2) != integers) return "dtype of the zero point";
  if (problem.node.attributes.get_int("block_size", 0) != 0) return "blocks";
  if (problem.node.attributes.get_int("precision", 0) > 1) return "precision";
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  if (!problem.input(0)->dims || !problem.input(1)->dims || problem.input(1)->rank() > 1) return "unknown shape";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status prepare(Prepare& prepare) {
  const Shape &x = prepare.inputs[0].shape, &scale = prepare.inputs[1].shape;
  State state{};
  state.to_integers = prepare.step.op == "QuantizeLinear";
  state.type = integer_type((state.to_integers ? prepare.outputs[0] : prepare.inputs[0]).dtype);
  if (scale.elements() == 1) {
    state.outer = state.length = 1;
    state.inner = x.elements();
  } else {
    const int axis = axis_from_front(prepare.step.attributes.get_int("axis", 1), x.rank());
    const AxisBlock block = block_around(x, axis, axis + 1);
    state.outer = block.outer;
    state.length = block.length;
    state.inner = block.inner;
  }
  const bool has_zero_points = prepare.inputs.size() > 2 && prepare.inputs[2].present();
  const bool fits =
      state.length == scale.elements() && (!has_zero_points || prepare.inputs[2].shape.elements() == scale.elements());
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "step '{}': {} scales for an axis of {}", prepare.step.name, scale.elements(),
               state.length);
  const int64_t units = state.inner == 1 ? state.outer : state.outer * state.length;
  const auto elements = static_cast<double>(x.elements());
  state.shares = share_count(elements * 8 / kBytesPerMicrosecond, prepare.threads, units == 1 ? x.elements() : units);
  prepare.scratch_bytes = static_cast<size_t>(state.length) * sizeof(int32_t);
  prepare.state_as<State>() = state;
  return {};
}

int32_t zero_point_at(const Operand& zero_points, int64_t i) {
  switch (zero_points.dtype) {
    case DType::kUInt8: return zero_points.as<const uint8_t>()[i];
    case DType::kInt8: return zero_points.as<const int8_t>()[i];
    case DType::kUInt16: return zero_points.as<const uint16_t>()[i];
    default: return zero_points.as<const int16_t>()[i];
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const AxisConversionTable& table = select_axis_conversion_table(usable_isa(run.isa));
  auto* const zero_points = reinterpret_cast<int32_t*>(run.scratch);
  const bool has_zero_points = run.inputs.size() > 2 && run.inputs[2].present();
  for (int64_t i = 0; i < state.length; ++i) zero_points[i] = has_zero_points ? zero_point_at(run.inputs[2], i) : 0;
  const float* const scales = run.inputs[1].f32();
  const int64_t size = state.type < 2 ? 1 : 2;
  const auto convert = [&](int64_t first, int64_t count, const ScaleLine& line) {
    if (state.to_integers) {
      table.quantize[state.type](run.inputs[0].f32() + first, run.outputs[0].as<uint8_t>() + first * size, count, line);
    } else {
      table.dequantize[state.type](run.inputs[0].as<const uint8_t>() + first * size, run.outputs[0].f32_out() + first,
                                   count, line);
    }
  };
  run.pool.run(state.shares, [&](int index) {
    const Share share = {index, state.shares};
    if (state.length == 1) {
      const Range range = range_of(state.outer * state.inner, share);
      return convert(range.begin, range.end - range.begin, {scales, zero_points, 0});
    }
    const bool by_element = state.inner == 1;
    const Range range = range_of(by_element ? state.outer : state.outer * state.length, share);
    for (int64_t i = range.begin; i < range.end; ++i) {
      if (by_element) {
        convert(i * state.length, state.length, {scales, zero_points, 1});
      } else {
        const int64_t channel = i % state.length;
        convert(i * state.inner, state.inner, {scales + channel, zero_points + channel, 0});
      }
    }
  });
  return {};
}

}  // namespace

extern const Kernel quantize_axis_kernel = {
    .name = "quantize_axis", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic quantize_axis_tactic = {.kernel = "quantize_axis", .supports = supports, .cost = cost};

}  // namespace hussar
