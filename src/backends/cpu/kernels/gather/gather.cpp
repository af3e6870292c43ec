// gather: Gather of any dtype along any axis of a plain tensor, by int32 or int64 indices.
#include <cstring>

#include "backends/cpu/kernel_support.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t outer, length, inner_bytes, indices;
  int32_t shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Gather"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  if (problem.dtype(1) != DType::kInt32 && problem.dtype(1) != DType::kInt64) return "dtype of the indices";
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return 0.5 + 2 * bytes_of(problem.output()) / (8e3 * problem.target.threads); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  int axis = axis_from_front(prepare.step.attributes.get_int("axis", 0), x.shape.rank());
  AxisBlock block = block_around(x.shape, axis, axis + 1);
  State state{block.outer, block.length, block.inner * static_cast<int64_t>(dtype_size(x.dtype)),
              prepare.inputs[1].shape.elements(), 1};
  double bytes = 2.0 * static_cast<double>(state.outer * state.indices * state.inner_bytes);
  // A row costs a few nanoseconds however short it is.
  double microseconds = bytes / kBytesPerMicrosecond + 4e-3 * static_cast<double>(state.outer * state.indices);
  state.shares = share_count(microseconds, prepare.threads, state.outer * state.indices);
  prepare.state_as<State>() = state;
  return {};
}

template <class Index>
Status check(const Run& run, const State& state) {
  const Index* indices = run.inputs[1].as<Index>();
  for (int64_t i = 0; i < state.indices; ++i) {
    HUSSAR_CHECK(indices[i] >= -state.length && indices[i] < state.length, ErrorCode::kRunFailed,
                 "step '{}' (Gather): index {} is out of range for {} elements", run.step.name, indices[i],
                 state.length);
  }
  return {};
}

// Rows [begin, end) of outer * indices. kBytes is the size of a row, 0 for any.
template <class Index, int64_t kBytes>
void copy_rows(const Run& run, const State& state, Range range) {
  const Index* indices = run.inputs[1].as<Index>();
  int64_t bytes = kBytes > 0 ? kBytes : state.inner_bytes;
  int64_t outer = range.begin / std::max<int64_t>(state.indices, 1), i = range.begin - outer * state.indices;
  std::byte* to = run.outputs[0].data + range.begin * bytes;
  const std::byte* from = run.inputs[0].data + outer * state.length * bytes;
  for (int64_t row = range.begin; row < range.end; ++row, to += bytes) {
    int64_t index = indices[i] < 0 ? indices[i] + state.length : indices[i];
    std::memcpy(to, from + index * bytes, static_cast<size_t>(bytes));
    if (++i < state.indices) continue;
    i = 0;
    from += state.length * bytes;
  }
}

template <class Index>
void copy_share(const Run& run, const State& state, Range range) {
  switch (state.inner_bytes) {
    case 1: return copy_rows<Index, 1>(run, state, range);
    case 2: return copy_rows<Index, 2>(run, state, range);
    case 4: return copy_rows<Index, 4>(run, state, range);
    case 8: return copy_rows<Index, 8>(run, state, range);
    default: return copy_rows<Index, 0>(run, state, range);
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  bool wide = run.inputs[1].dtype == DType::kInt64;
  HUSSAR_TRY(wide ? check<int64_t>(run, state) : check<int32_t>(run, state));
  int64_t rows = state.outer * state.indices;
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(rows, {index, state.shares});
    wide ? copy_share<int64_t>(run, state, range) : copy_share<int32_t>(run, state, range);
  });
  return {};
}

}  // namespace

extern const Kernel gather_kernel = {.name = "gather", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic gather_tactic = {.kernel = "gather", .supports = supports, .cost = cost};

}  // namespace hussar
