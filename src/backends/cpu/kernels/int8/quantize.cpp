// quantize: QuantizeLinear and DequantizeLinear between float32 and bytes with one constant scale, in any layout.
#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/conversion.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t lines, columns, in_pitch, out_pitch;
  float scale;
  int32_t zero_point, shares;
  uint8_t flip;
  bool to_bytes;
};

bool is_byte(DType dtype) { return dtype == DType::kUInt8 || dtype == DType::kInt8; }

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"QuantizeLinear", "DequantizeLinear"})) return refusal;
  const bool to_bytes = problem.node.op == "QuantizeLinear";
  const DType from = problem.dtype(0), to = problem.output()->dtype, bytes = to_bytes ? to : from;
  if ((to_bytes ? from : to) != DType::kFloat32 || !is_byte(bytes)) return "dtype";
  const Value* scale = problem.input(1);
  if (scale->dtype != DType::kFloat32 || !scale->is_constant() || scale->constant->elements() != 1)
    return "needs one constant scale";
  const Value* zero_point = problem.input(2);
  if (zero_point != nullptr &&
      (zero_point->dtype != bytes || !zero_point->is_constant() || zero_point->constant->elements() != 1))
    return "needs one constant zero point";
  if (problem.node.attributes.get_int("precision", 0) > 1) return "precision";
  return problem.input(0)->layout == problem.output()->layout ? Refusal() : "mixed layouts";
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  State state{};
  const int64_t total = x.shape.elements();
  const bool in_lines = x.layout == Layout::kChannelsLast && (x.pitch != x.shape[1] || y.pitch != y.shape[1]);
  state.columns = in_lines ? x.shape[1] : total;
  state.lines = in_lines && state.columns > 0 ? total / state.columns : 1;
  state.in_pitch = x.pitch;
  state.out_pitch = y.pitch;
  state.to_bytes = prepare.step.op == "QuantizeLinear";
  state.scale = *prepare.inputs[1].f32();
  const bool has_zero_point = prepare.inputs.size() > 2 && prepare.inputs[2].present();
  const bool has_sign = (state.to_bytes ? y : x).dtype == DType::kInt8;
  const auto zero_point = has_zero_point ? *prepare.inputs[2].as<const uint8_t>() : uint8_t{0};
  state.flip = has_sign ? 0x80 : 0;
  state.zero_point = zero_point ^ state.flip;
  state.shares = share_count(static_cast<double>(total) * 5 / kBytesPerMicrosecond, prepare.threads, total);
  prepare.state_as<State>() = state;
  return {};
}

// The elements [begin, end), line by line.
template <class From, class To, class Convert>
void convert_range(const State& state, const From* x, To* y, Range range, Convert convert) {
  while (range.begin < range.end) {
    const int64_t line = state.lines == 1 ? 0 : range.begin / state.columns;
    const int64_t column = range.begin - line * state.columns;
    const int64_t count = std::min(state.columns - column, range.end - range.begin);
    convert(x + line * state.in_pitch + column, y + line * state.out_pitch + column, count, state.scale,
            state.zero_point, state.flip);
    range.begin += count;
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const ConversionTable& table = select_conversion_table(usable_isa(run.isa));
  const int64_t total = state.lines * state.columns;
  run.pool.run(state.shares, [&](int index) {
    const Range range = range_of(total, {index, state.shares});
    if (state.to_bytes) {
      convert_range(state, run.inputs[0].f32(), run.outputs[0].as<uint8_t>(), range, table.quantize);
    } else {
      convert_range(state, run.inputs[0].as<const uint8_t>(), run.outputs[0].f32_out(), range, table.dequantize);
    }
  });
  return {};
}

}  // namespace

extern const Kernel quantize_kernel = {
    .name = "quantize", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic quantize_tactic = {.kernel = "quantize", .supports = supports, .cost = cost};

}  // namespace hussar
