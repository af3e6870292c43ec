// reduce: ReduceSum, Mean, Max, Min, Prod, L1, L2 and SumSquare, GlobalAveragePool and GlobalMaxPool in FP32, over any
// axes and in any layouts.
//
// The axes, in the order in which they lie in memory and merged where neighbours are alike, end either in a reduced
// axis (rows) or in one that is kept (columns, reduced over the nearest reduced axis before it). All other axes are
// loops: kept ones are shared between threads, reduced ones run inside and combine into the output.
#include "backends/cpu/kernels/reduce/reduce.h"

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

struct Axis {
  int64_t size, in, out;  // strides in elements; out is not used by reduced axes
  bool reduced;
};

constexpr int64_t kColumns = 128;  // of one unit of work

struct Plan {
  Axis kept[kMaxRank], reduced[kMaxRank];  // loops
  int32_t kept_count, reduced_count;
  bool is_columns;
  int64_t length, stride;   // of the innermost reduction
  int64_t columns, pieces;  // of the innermost block when is_columns
  int64_t units, reduced_loops;
  float scale;
  bool root;
  ReduceKind kind;
  int32_t shares;
};

struct State {
  Plan plan;
  int32_t threads;
  bool is_planned;
};

struct Spelling {
  std::string_view op;
  ReduceKind kind;
};
constexpr Spelling kSpellings[] = {{"ReduceSum", ReduceKind::kSum},
                                   {"ReduceMean", ReduceKind::kSum},
                                   {"ReduceL1", ReduceKind::kSumAbs},
                                   {"ReduceL2", ReduceKind::kSumSquares},
                                   {"ReduceSumSquare", ReduceKind::kSumSquares},
                                   {"ReduceProd", ReduceKind::kProduct},
                                   {"ReduceMax", ReduceKind::kMax},
                                   {"ReduceMin", ReduceKind::kMin},
                                   {"GlobalAveragePool", ReduceKind::kSum},
                                   {"GlobalMaxPool", ReduceKind::kMax}};

const Spelling* find_spelling(std::string_view op) {
  for (const Spelling& spelling : kSpellings) {
    if (spelling.op == op) return &spelling;
  }
  return nullptr;
}

Refusal supports(const Problem& problem) {
  if (find_spelling(problem.node.op) == nullptr) return "op";
  if (problem.node.program) return "fused program";
  if (problem.dtype(0) != DType::kFloat32) return "dtype";
  bool may_do_nothing = problem.node.attributes.get_int("noop_with_empty_axes", 0) != 0;
  if (may_do_nothing && !(problem.is_constant(1) && problem.input(1)->constant->elements() > 0)) return "no axes";
  // An output without the reduced axes has another rank than a channels-last one could have.
  bool same_rank = problem.input(0)->rank() == problem.output()->rank();
  if (problem.output()->layout == Layout::kChannelsLast && !same_rank) return "layout of the output";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

bool is_global(const PlanStep& step) { return step.op == "GlobalAveragePool" || step.op == "GlobalMaxPool"; }

// Marks the reduced axes.
void mark_axes(const PlanStep& step, std::span<const Operand> inputs, bool (&reduced)[kMaxRank]) {
  int rank = inputs[0].shape.rank();
  SmallInts axes = small_ints(inputs, 1);
  for (int axis = 0; axis < rank; ++axis) reduced[axis] = is_global(step) ? axis >= 2 : axes.count == 0;
  for (int i = 0; i < axes.count; ++i) reduced[axis_from_front(axes[i], rank)] = true;
}

// The axes in memory order, without those of size 1, neighbours merged.
int collect_axes(const Operand& x, const Operand& y, const bool (&reduced)[kMaxRank], Axis (&list)[kMaxRank]) {
  int rank = x.shape.rank();
  Strides in = strides_of(x), out = strides_of(y);
  bool keeps_rank = y.shape.rank() == rank;
  int64_t out_stride[kMaxRank] = {};
  for (int axis = 0, next = 0; axis < rank; ++axis) {
    if (!reduced[axis]) out_stride[axis] = out[keeps_rank ? axis : next++];
  }
  int count = 0;
  for (int place = 0; place < rank; ++place) {
    int axis = place;
    if (x.layout == Layout::kChannelsLast && place > 0) axis = place == rank - 1 ? 1 : place + 1;
    Axis next{x.shape[axis], in[axis], out_stride[axis], reduced[axis]};
    if (next.size == 1) continue;
    Axis* last = count > 0 ? &list[count - 1] : nullptr;
    bool joins = last != nullptr && last->reduced == next.reduced && last->in == next.in * next.size &&
                 (next.reduced || last->out == next.out * next.size);
    if (joins) {
      *last = {last->size * next.size, next.in, next.out, next.reduced};
    } else {
      list[count++] = next;
    }
  }
  return count;
}

Plan plan_reduction(const PlanStep& step, std::span<const Operand> inputs, const Operand& y, int threads) {
  const Operand& x = inputs[0];
  Plan plan{};
  plan.kind = find_spelling(step.op)->kind;
  plan.root = step.op == "ReduceL2";
  bool reduced[kMaxRank] = {};
  mark_axes(step, inputs, reduced);
  Axis list[kMaxRank];
  int count = collect_axes(x, y, reduced, list);
  plan.scale = 1;
  if (step.op == "ReduceMean" || step.op == "GlobalAveragePool") {
    int64_t each = 1;
    for (int axis = 0; axis < x.shape.rank(); ++axis) each *= reduced[axis] ? x.shape[axis] : 1;
    plan.scale = 1.0f / static_cast<float>(each);
  }
  plan.length = 1;
  plan.columns = plan.pieces = 1;
  int inner = -1;
  // A last axis that is not dense (one channel of wider pixels) is read as columns of one element.
  bool ends_in_row = count > 0 && list[count - 1].reduced && list[count - 1].in == 1;
  plan.is_columns = !ends_in_row;
  if (plan.is_columns && count > 0 && !list[count - 1].reduced && list[count - 1].in == 1 && list[count - 1].out == 1) {
    plan.columns = list[--count].size;
    plan.pieces = (plan.columns + kColumns - 1) / kColumns;
  }
  for (int i = 0; i < count; ++i) inner = list[i].reduced ? i : inner;
  if (inner >= 0) {
    plan.length = list[inner].size;
    plan.stride = list[inner].in;
  }
  plan.units = plan.pieces;
  plan.reduced_loops = 1;
  for (int i = 0; i < count; ++i) {
    if (i == inner) continue;
    if (list[i].reduced) {
      plan.reduced[plan.reduced_count++] = list[i];
      plan.reduced_loops *= list[i].size;
    } else {
      plan.kept[plan.kept_count++] = list[i];
      plan.units *= list[i].size;
    }
  }
  if (plan.reduced_loops == 0) {
    // Nothing to reduce: every output is what no elements give.
    plan.length = 0;
    plan.reduced_loops = 1;
    plan.reduced_count = 0;
  }
  if (y.shape.elements() == 0) plan.units = 0;
  double bytes = 4.0 * static_cast<double>(x.shape.elements() + y.shape.elements());
  plan.shares = share_count(bytes / kBytesPerMicrosecond, threads, plan.units);
  return plan;
}

// The element offsets of loop iteration `index`.
void locate(const Axis* loops, int count, int64_t index, int64_t& in, int64_t& out) {
  for (int i = count - 1; i >= 0; --i) {
    int64_t at = index % loops[i].size;
    index /= loops[i].size;
    in += at * loops[i].in;
    out += at * loops[i].out;
  }
}

void reduce_units(const Plan& plan, const ReduceTable& table, const float* x, float* y, Range range) {
  auto kind = static_cast<int>(plan.kind);
  float part[kColumns];
  for (int64_t unit = range.begin; unit < range.end; ++unit) {
    int64_t in = 0, out = 0, unused = 0;
    locate(plan.kept, plan.kept_count, unit / plan.pieces, in, out);
    int64_t first = unit % plan.pieces * kColumns;
    int64_t columns = std::min(kColumns, plan.columns - first);
    float* to = y + out + first;
    for (int64_t loop = 0; loop < plan.reduced_loops; ++loop) {
      int64_t from = in + first;
      locate(plan.reduced, plan.reduced_count, loop, from, unused);
      float* target = loop == 0 ? to : part;
      if (plan.is_columns) {
        table.columns[kind](x + from, plan.length, plan.stride, target, columns);
      } else {
        *target = table.row[kind](x + from, plan.length);
      }
      if (loop > 0) table.combine[kind](part, to, columns);
    }
    if (plan.scale != 1 || plan.root) table.finish(to, columns, plan.scale, plan.root);
  }
}

Status prepare(Prepare& prepare) {
  State state{};
  state.threads = prepare.threads;
  state.is_planned = have_data(prepare.inputs, 1);
  if (state.is_planned) {
    state.plan = plan_reduction(prepare.step, prepare.inputs, prepare.outputs[0], prepare.threads);
  }
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Plan plan = state.is_planned ? state.plan : plan_reduction(run.step, run.inputs, run.outputs[0], state.threads);
  const ReduceTable& table = select_reduce_table(active_isa());
  run.pool.run(plan.shares, [&](int index) {
    reduce_units(plan, table, run.inputs[0].f32(), run.outputs[0].f32_out(),
                 range_of(plan.units, {index, plan.shares}));
  });
  return {};
}

}  // namespace

extern const Kernel reduce_kernel = {.name = "reduce", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic reduce_tactic = {.kernel = "reduce", .supports = supports, .cost = cost};

}  // namespace hussar
