// pad: Pad of any dtype in the modes constant, reflect, edge and wrap; all tensors plain, or all channels-last.
//
// The output is written line by line along its innermost axis in memory: what lies inside of the input is one run.
#include <cstring>

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

enum class Mode : int32_t { kConstant, kReflect, kEdge, kWrap };

struct Axis {
  int64_t in, out, before;        // sizes; negative `before` cuts elements off
  int64_t in_stride, out_stride;  // bytes
};

struct Plan {
  Axis axes[kMaxRank];  // in memory order; the last is the line
  int32_t count;
  Mode mode;
  int64_t unit;  // bytes of one element of the last axis: all axes behind it that are not padded belong to it
  int64_t lines;
  int32_t shares;
};

struct State {
  Plan plan;
  int32_t threads;
  bool is_planned;  // false: the pads are data, run() plans
  Mode mode;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Pad"})) return refusal;
  if (problem.input(0)->layout != problem.output()->layout) return "mixed layouts";
  std::string mode = problem.node.attributes.get_string("mode", "constant");
  if (!is_one_of(mode, {"constant", "reflect", "edge", "wrap"})) return "mode";
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

Plan plan_pad(std::span<const Operand> inputs, const Operand& y, Mode mode, int threads) {
  const Operand& x = inputs[0];
  int rank = x.shape.rank();
  auto size = static_cast<int64_t>(dtype_size(x.dtype));
  SmallInts pads = small_ints(inputs, 1), chosen = small_ints(inputs, 3);
  Plan plan{};
  plan.mode = mode;
  plan.unit = size;
  Strides in = strides_of(x), out = strides_of(y);
  auto axis_at = [&](int place) {
    if (x.layout == Layout::kPlain) return place;
    return place == 0 ? 0 : place == rank - 1 ? 1 : place + 1;
  };
  int64_t before[kMaxRank] = {};
  int listed = pads.count / 2;
  for (int i = 0; i < listed; ++i) before[axis_from_front(chosen.count > 0 ? chosen[i] : i, rank)] = pads[i];
  for (int place = 0; place < rank; ++place) {
    int axis = axis_at(place);
    plan.axes[plan.count++] = {x.shape[axis], y.shape[axis], before[axis], in[axis] * size, out[axis] * size};
  }
  // Trailing axes that are dense and not padded make the elements of the line longer.
  while (plan.count > 1) {
    const Axis& last = plan.axes[plan.count - 1];
    bool dense = last.in == last.out && last.before == 0 && last.in_stride == plan.unit && last.out_stride == plan.unit;
    const Axis& next = plan.axes[plan.count - 2];
    if (!dense || next.in_stride != plan.unit * last.in || next.out_stride != plan.unit * last.out) break;
    plan.unit *= last.in;
    --plan.count;
  }
  if (plan.count == 0) plan.axes[plan.count++] = {1, 1, 0, size, size};
  plan.lines = y.shape.elements() == 0 ? 0 : 1;
  for (int i = 0; i + 1 < plan.count; ++i) plan.lines *= plan.axes[i].out;
  double bytes = static_cast<double>((x.shape.elements() + y.shape.elements()) * size);
  plan.shares = share_count(bytes / kBytesPerMicrosecond, threads, plan.lines);
  return plan;
}

// The input position of output position `at`; -1: outside, to be filled.
int64_t source(const Axis& axis, Mode mode, int64_t at) {
  int64_t position = at - axis.before;
  if (position >= 0 && position < axis.in) return position;
  if (axis.in == 0) return -1;
  switch (mode) {
    case Mode::kEdge: return position < 0 ? 0 : axis.in - 1;
    case Mode::kWrap: return ((position % axis.in) + axis.in) % axis.in;
    case Mode::kReflect: {
      if (axis.in == 1) return 0;
      int64_t period = 2 * (axis.in - 1);
      position = ((position % period) + period) % period;
      return position < axis.in ? position : period - position;
    }
    default: return -1;
  }
}

void fill(std::byte* to, const std::byte* value, int64_t value_size, int64_t bytes) {
  if (bytes <= 0) return;
  // Doubles what is there: few calls for any element size.
  std::memcpy(to, value, static_cast<size_t>(value_size));
  for (int64_t done = value_size; done < bytes;) {
    int64_t step = std::min(done, bytes - done);
    std::memcpy(to + done, to, static_cast<size_t>(step));
    done += step;
  }
}

// Writes the elements of one line. A unit of several elements is filled element by element.
void write_line(const Plan& plan, const std::byte* from, std::byte* to, const std::byte* value, int64_t value_size) {
  const Axis& axis = plan.axes[plan.count - 1];
  bool dense = axis.in_stride == plan.unit && axis.out_stride == plan.unit;
  int64_t begin = std::clamp<int64_t>(axis.before, 0, axis.out);
  int64_t end = std::clamp<int64_t>(axis.before + axis.in, begin, axis.out);
  auto border = [&](int64_t first, int64_t last) {
    for (int64_t at = first; at < last; ++at) {
      int64_t position = source(axis, plan.mode, at);
      std::byte* place = to + at * axis.out_stride;
      if (position < 0) {
        if (dense) return fill(place, value, value_size, (last - first) * plan.unit);
        fill(place, value, value_size, plan.unit);
      } else {
        std::memcpy(place, from + position * axis.in_stride, static_cast<size_t>(plan.unit));
      }
    }
  };
  border(0, begin);
  if (dense && end > begin) {
    std::memcpy(to + begin * plan.unit, from + (begin - axis.before) * plan.unit,
                static_cast<size_t>((end - begin) * plan.unit));
  } else {
    for (int64_t at = begin; at < end; ++at) {
      std::memcpy(to + at * axis.out_stride, from + (at - axis.before) * axis.in_stride,
                  static_cast<size_t>(plan.unit));
    }
  }
  border(end, axis.out);
}

void write_lines(const Plan& plan, const Run& run, const std::byte* value, int64_t value_size, Range range) {
  const Axis& last = plan.axes[plan.count - 1];
  for (int64_t line = range.begin; line < range.end; ++line) {
    const std::byte* from = run.inputs[0].data;
    std::byte* to = run.outputs[0].data;
    bool outside = false;
    int64_t rest = line;
    for (int i = plan.count - 2; i >= 0; --i) {
      const Axis& axis = plan.axes[i];
      int64_t at = rest % axis.out;
      rest /= axis.out;
      int64_t position = source(axis, plan.mode, at);
      outside = outside || position < 0;
      from += position * axis.in_stride;
      to += at * axis.out_stride;
    }
    if (!outside) {
      write_line(plan, from, to, value, value_size);
    } else if (last.out_stride == plan.unit) {
      fill(to, value, value_size, last.out * plan.unit);
    } else {
      for (int64_t at = 0; at < last.out; ++at) fill(to + at * last.out_stride, value, value_size, plan.unit);
    }
  }
}

Status prepare(Prepare& prepare) {
  std::string mode = prepare.step.attributes.get_string("mode", "constant");
  State state{};
  state.threads = prepare.threads;
  state.mode = mode == "reflect" ? Mode::kReflect
               : mode == "edge"  ? Mode::kEdge
               : mode == "wrap"  ? Mode::kWrap
                                 : Mode::kConstant;
  // The value to fill with is read when running.
  const Operand none;
  const Operand lists[4] = {prepare.inputs[0], prepare.inputs[1], none,
                            prepare.inputs.size() > 3 ? prepare.inputs[3] : none};
  state.is_planned = have_data(lists, 1);
  if (state.is_planned) state.plan = plan_pad(prepare.inputs, prepare.outputs[0], state.mode, state.threads);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Plan plan = state.is_planned ? state.plan : plan_pad(run.inputs, run.outputs[0], state.mode, state.threads);
  std::byte zeros[8] = {};
  bool has_value = run.inputs.size() > 2 && run.inputs[2].present() && run.inputs[2].shape.elements() > 0;
  const std::byte* value = has_value ? run.inputs[2].data : zeros;
  auto value_size = static_cast<int64_t>(dtype_size(run.inputs[0].dtype));
  if (plan.lines == 0) return {};
  run.pool.run(plan.shares, [&](int index) {
    write_lines(plan, run, value, value_size, range_of(plan.lines, {index, plan.shares}));
  });
  return {};
}

}  // namespace

extern const Kernel pad_kernel = {.name = "pad", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic pad_tactic = {.kernel = "pad", .supports = supports, .cost = cost};

}  // namespace hussar
