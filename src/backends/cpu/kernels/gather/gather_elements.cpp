// gather_elements: GatherElements of any dtype along any axis of plain tensors, by int32 or int64 indices.
#include <atomic>

#include "backends/cpu/kernel_support.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int32_t axis, shares;
  int64_t rows;  // lines along the last axis of the output
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"GatherElements"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  if (problem.dtype(1) != DType::kInt32 && problem.dtype(1) != DType::kInt64) return "dtype of the indices";
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) {
  return 0.5 + 2e-3 * Problem::elements(problem.output()) / problem.target.threads;
}

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.outputs[0].shape;
  State state{};
  state.axis = axis_from_front(prepare.step.attributes.get_int("axis", 0), shape.rank());
  state.rows = shape.rank() > 0 ? shape.elements(0, shape.rank() - 1) : 1;
  if (shape.elements() == 0) state.rows = 0;
  state.shares = share_count(2e-3 * static_cast<double>(shape.elements()), prepare.threads, state.rows);
  prepare.state_as<State>() = state;
  return {};
}

// Lines [begin, end). An index out of range is reported and its element is left alone.
template <class Index, class Word>
void gather_lines(const Run& run, const State& state, Range range, std::atomic<int64_t>& bad_element) {
  const Shape& shape = run.outputs[0].shape;
  int last = shape.rank() - 1;
  int64_t length = run.inputs[0].shape[state.axis], count = shape[last];
  Strides strides = strides_of(run.inputs[0]);
  // Along the gathered axis the place comes from the index alone.
  int64_t by_index = strides[state.axis];
  strides[state.axis] = 0;
  const Index* indices = run.inputs[1].as<Index>() + range.begin * count;
  Word* out = run.outputs[0].as<Word>() + range.begin * count;
  for (int64_t line = range.begin; line < range.end; ++line, indices += count, out += count) {
    const Word* from = run.inputs[0].as<Word>();
    int64_t rest = line;
    for (int axis = last - 1; axis >= 0; --axis) {
      from += rest % shape[axis] * strides[axis];
      rest /= shape[axis];
    }
    for (int64_t i = 0; i < count; ++i) {
      int64_t index = indices[i] < 0 ? indices[i] + length : indices[i];
      if (index < 0 || index >= length) [[unlikely]] {
        bad_element.store(line * count + i, std::memory_order_relaxed);
        continue;
      }
      out[i] = from[index * by_index + i * strides[last]];
    }
  }
}

template <class Index>
void gather_words(const Run& run, const State& state, Range range, std::atomic<int64_t>& bad_element) {
  switch (dtype_size(run.inputs[0].dtype)) {
    case 1: return gather_lines<Index, uint8_t>(run, state, range, bad_element);
    case 2: return gather_lines<Index, uint16_t>(run, state, range, bad_element);
    case 4: return gather_lines<Index, uint32_t>(run, state, range, bad_element);
    default: return gather_lines<Index, uint64_t>(run, state, range, bad_element);
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  bool wide = run.inputs[1].dtype == DType::kInt64;
  std::atomic<int64_t> bad_element{-1};
  if (state.rows == 0) return {};
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.rows, {index, state.shares});
    wide ? gather_words<int64_t>(run, state, range, bad_element)
         : gather_words<int32_t>(run, state, range, bad_element);
  });
  int64_t bad = bad_element.load();
  if (bad < 0) return {};
  int64_t index = wide ? run.inputs[1].as<int64_t>()[bad] : run.inputs[1].as<int32_t>()[bad];
  return fail(ErrorCode::kRunFailed, "step '{}' (GatherElements): index {} is out of range for {} elements",
              run.step.name, index, run.inputs[0].shape[state.axis]);
}

}  // namespace

extern const Kernel gather_elements_kernel = {
    .name = "gather_elements", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic gather_elements_tactic = {.kernel = "gather_elements", .supports = supports, .cost = cost};

}  // namespace hussar
