// gather_nd: GatherND of any dtype from a plain tensor, by tuples of int64 indices.
#include <cstring>

#include "backends/cpu/kernel_support.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kMaxTuple = 8;

struct State {
  int64_t tuples, tuples_per_batch, batch_bytes, block_bytes;
  int64_t lengths[kMaxTuple], step_bytes[kMaxTuple];  // of the dimensions that a tuple indexes
  int32_t tuple, shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"GatherND"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  if (problem.dtype(1) != DType::kInt64) return "dtype of the indices";
  const Dims& indices = *problem.node.inputs[1]->dims;
  if (indices.empty() || !indices.back().is_constant()) return "tuples of unknown length";
  if (indices.back().value() > kMaxTuple) return "tuples are too long";
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return 0.5 + 2 * bytes_of(problem.output()) / (8e3 * problem.target.threads); }

Status prepare(Prepare& prepare) {
  const Shape& data = prepare.inputs[0].shape;
  const Shape& indices = prepare.inputs[1].shape;
  const auto batch_dims = static_cast<int>(prepare.step.attributes.get_int("batch_dims", 0));
  const int last = indices.rank() - 1;
  const auto size = static_cast<int64_t>(dtype_size(prepare.inputs[0].dtype));
  State state{};
  state.tuple = static_cast<int32_t>(indices[last]);
  HUSSAR_CHECK(state.tuple <= kMaxTuple, ErrorCode::kPlanIncompatible, "step '{}': index tuples of {}",
               prepare.step.name, state.tuple);
  state.tuples = indices.elements(0, last);
  state.tuples_per_batch = std::max<int64_t>(indices.elements(batch_dims, last), 1);
  state.batch_bytes = data.elements(batch_dims, data.rank()) * size;
  state.block_bytes = data.elements(batch_dims + state.tuple, data.rank()) * size;
  for (int k = 0; k < state.tuple; ++k) {
    state.lengths[k] = data[batch_dims + k];
    state.step_bytes[k] = data.elements(batch_dims + k + 1, data.rank()) * size;
  }
  // A tuple costs a few nanoseconds however short its block is.
  const double bytes = 2.0 * static_cast<double>(state.tuples * state.block_bytes);
  const double microseconds = bytes / kBytesPerMicrosecond + 6e-3 * static_cast<double>(state.tuples);
  state.shares = share_count(microseconds, prepare.threads, state.tuples);
  prepare.state_as<State>() = state;
  return {};
}

Status check(const Run& run, const State& state) {
  const auto* index = run.inputs[1].as<int64_t>();
  for (int64_t i = 0; i < state.tuples; ++i) {
    for (int k = 0; k < state.tuple; ++k, ++index) {
      HUSSAR_CHECK(*index >= -state.lengths[k] && *index < state.lengths[k], ErrorCode::kRunFailed,
                   "step '{}' (GatherND): index {} is out of range for {} elements", run.step.name, *index,
                   state.lengths[k]);
    }
  }
  return {};
}

void copy_blocks(const Run& run, const State& state, Range range) {
  const auto* index = run.inputs[1].as<int64_t>() + range.begin * state.tuple;
  std::byte* to = run.outputs[0].data + range.begin * state.block_bytes;
  for (int64_t i = range.begin; i < range.end; ++i, to += state.block_bytes) {
    const std::byte* from = run.inputs[0].data + i / state.tuples_per_batch * state.batch_bytes;
    for (int k = 0; k < state.tuple; ++k, ++index) {
      from += (*index < 0 ? *index + state.lengths[k] : *index) * state.step_bytes[k];
    }
    std::memcpy(to, from, static_cast<size_t>(state.block_bytes));
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  HUSSAR_TRY(check(run, state));
  if (state.block_bytes == 0) return {};
  run.pool.run(state.shares, [&](int index) {
    copy_blocks(run, state, range_of(state.tuples, {index, state.shares}));
  });
  return {};
}

}  // namespace

extern const Kernel gather_nd_kernel = {
    .name = "gather_nd", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic gather_nd_tactic = {.kernel = "gather_nd", .supports = supports, .cost = cost};

}  // namespace hussar
