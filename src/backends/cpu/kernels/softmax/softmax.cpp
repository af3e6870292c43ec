// softmax: Softmax and LogSoftmax in FP32 along any axis of plain tensors, and along the channels of channels-last
// ones.
#include "backends/cpu/kernels/softmax/softmax.h"

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t outer, length, inner;
  int64_t input_pitch, output_pitch;
  int32_t shares;
  bool log;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Softmax", "LogSoftmax"})) return refusal;
  if (problem.dtype(0) != DType::kFloat32) return "dtype";
  if (all_have_layout(problem, Layout::kPlain)) return std::nullopt;
  if (!all_have_layout(problem, Layout::kChannelsLast)) return "mixed layouts";
  int rank = problem.input(0)->rank();
  if (rank < 2 || axis_from_front(problem.node.attributes.get_int("axis", -1), rank) != 1) return "axis";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  State state{1, 1, 1, 1, 1, 1, prepare.step.op == "LogSoftmax"};
  int rank = x.shape.rank();
  if (x.layout == Layout::kChannelsLast) {
    state.outer = x.shape[0] * x.shape.elements(2, rank);
    state.length = x.shape[1];
    state.input_pitch = x.pitch;
    state.output_pitch = y.pitch;
  } else if (rank > 0) {
    int axis = axis_from_front(prepare.step.attributes.get_int("axis", -1), rank);
    AxisBlock block = block_around(x.shape, axis, axis + 1);
    state.outer = block.outer;
    state.length = block.length;
    state.inner = block.inner;
    state.input_pitch = state.output_pitch = block.length;
  }
  // About 1.5 ns per element on one core; columns of one row are cut in vectors of 16.
  double microseconds = 1e-3 * static_cast<double>(x.shape.elements());
  int64_t units = state.inner == 1 ? state.outer : state.outer * ((state.inner + 15) / 16);
  state.shares = share_count(microseconds, prepare.threads, units);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const float* x = run.inputs[0].f32();
  float* y = run.outputs[0].f32_out();
  const SoftmaxTable& table = select_softmax_table(usable_isa(run.isa));
  if (state.outer * state.length * state.inner == 0) return {};
  run.pool.run(state.shares, [&](int index) {
    Share share{index, state.shares};
    if (state.inner == 1) {
      Range rows = range_of(state.outer, share);
      table.rows({x + rows.begin * state.input_pitch, y + rows.begin * state.output_pitch, state.input_pitch,
                  state.output_pitch, rows.end - rows.begin, state.length, state.log});
      return;
    }
    int64_t blocks = (state.inner + 15) / 16;
    Range range = range_of(state.outer * blocks, share);
    for (int64_t unit = range.begin; unit < range.end;) {
      int64_t outer = unit / blocks, first = unit % blocks;
      int64_t last = std::min(blocks, first + range.end - unit);
      int64_t offset = outer * state.length * state.inner;
      table.columns(
          {x + offset, y + offset, state.length, state.inner, first * 16, std::min(last * 16, state.inner), state.log});
      unit += last - first;
    }
  });
  return {};
}

}  // namespace

extern const Kernel softmax_kernel = {.name = "softmax", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic softmax_tactic = {.kernel = "softmax", .supports = supports, .cost = cost};

}  // namespace hussar
