// attention: hussar.Attention in FP32. The scores of a few query rows and a block of keys stay in the L1 cache and are
// never written out as a whole. Keys and values are packed once per head; a few queries (decoding) read them as they
// are instead.
#include "backends/cpu/kernels/attention/attention.h"

#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/work_cuts.h"

namespace hussar {
namespace {

using namespace cpu;

// Up to so many queries per head it is cheaper not to pack keys and values.
constexpr int64_t kFewQueries = 4;
// The most query rows of one unit of work.
constexpr int64_t kBlockRows = 112;

enum Bit : int64_t { kQ = 1, kK = 2, kV = 4, kOut = 8 };

// Where the rows of a head lie, in elements from the tensor's first.
struct View {
  int64_t offset, batch_stride, head_stride, row_stride, column_stride;
  int64_t at(int64_t batch, int64_t head) const { return offset + batch * batch_stride + head * head_stride; }
};

// One unit is a block of queries of one head. When the heads alone keep all threads busy, a share packs keys and values
// of a head right before its units: they are still in that core's cache, and no other core waits for them.
struct State {
  View q, k, v, y;
  int64_t batch, heads, kv_heads, head_dim, v_head_dim, queries, keys;
  int64_t mask_batch, mask_head, mask_row, mask_column;  // strides
  float scale, softcap;
  bool causal, packs, packs_apart;
  bool joins_heads;                  // the query heads of a key head count as rows
  int64_t rows, blocks;              // of one query head, or of one key head when joined
  int64_t key_floats, value_floats;  // panels of one head
  int64_t share_floats;              // scratch of one share
  int32_t pack_shares, shares;

  int64_t kv_units() const { return batch * kv_heads; }
  int64_t units_per_kv() const { return joins_heads ? blocks : heads / kv_heads * blocks; }
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.Attention"})) return refusal;
  if (problem.input(4) != nullptr) return "sequences that follow each other";
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  for (const Value* input : problem.node.inputs) {
    if (input != nullptr && input->dtype != DType::kFloat32) return "dtype";
  }
  if (problem.output()->dtype != DType::kFloat32) return "dtype";
  return std::nullopt;
}

// Two products of queries, keys and the size of a head, at 80 % of what a thread can multiply and add.
double cost(const Problem& problem) {
  constexpr double kFlopsPerMicrosecond = 9e4, kLikelyKeys = 64;
  const Value* v = problem.input(2);
  const size_t keys_axis = problem.node.attributes.get_int("head_major", 0) != 0 ? 2 : 1;
  const Dim* keys = v->dims && keys_axis < v->dims->size() ? &(*v->dims)[keys_axis] : nullptr;
  const double flops = 4 * Problem::elements(problem.output()) *
                       (keys != nullptr && keys->is_constant() ? static_cast<double>(keys->value()) : kLikelyKeys);
  return memory_cost(problem) + flops / (kFlopsPerMicrosecond * problem.target.threads);
}

// half_blocks: of queries.
std::vector<Configuration> configurations(const Problem& problem) {
  return named_configurations({"two_shares", "half_blocks"}, problem.target.threads, cost(problem));
}

View view_of(const Shape& shape, bool head_major, bool transposed, int64_t offset, int64_t dim) {
  if (transposed) return {0, shape.elements(1, 4), shape.elements(2, 4), 1, shape[3]};
  if (head_major) return {0, shape.elements(1, 4), shape.elements(2, 4), shape[3], 1};
  return {offset, shape[1] * shape[2], dim, shape[2], 1};
}

void read_form(const Prepare& prepare, State& state) {
  const Attributes& attributes = prepare.step.attributes;
  const Shape& q = prepare.inputs[0].shape;
  const Shape& v = prepare.inputs[2].shape;
  int64_t major = attributes.get_int("head_major", 0);
  state.heads = attributes.get_int("heads", 1);
  state.kv_heads = attributes.get_int("kv_heads", state.heads);
  state.head_dim = attributes.get_int("head_dim", 1);
  state.v_head_dim = attributes.get_int("v_head_dim", state.head_dim);
  state.scale = attributes.get_float("scale", 1.0f / std::sqrt(static_cast<float>(state.head_dim)));
  state.causal = attributes.get_int("causal", 0) != 0;
  state.softcap = attributes.get_float("softcap", 0.0f);
  state.batch = q[0];
  state.queries = q[(major & kQ) != 0 ? 2 : 1];
  state.keys = v[(major & kV) != 0 ? 2 : 1];
  bool transposed = attributes.get_int("k_transposed", 0) != 0;
  state.q = view_of(q, (major & kQ) != 0, false, attributes.get_int("q_offset", 0), state.head_dim);
  state.k = view_of(prepare.inputs[1].shape, (major & kK) != 0, transposed, attributes.get_int("k_offset", 0),
                    state.head_dim);
  state.v = view_of(v, (major & kV) != 0, false, attributes.get_int("v_offset", 0), state.v_head_dim);
  state.y = view_of(prepare.outputs[0].shape, (major & kOut) != 0, false, 0, state.v_head_dim);
  if (prepare.inputs.size() <= 3 || !prepare.inputs[3].present()) return;
  const Shape& mask = prepare.inputs[3].shape;
  int64_t* strides[] = {&state.mask_batch, &state.mask_head, &state.mask_row, &state.mask_column};
  for (int i = 0; i < mask.rank(); ++i) {
    if (mask[i] != 1) *strides[i + 4 - mask.rank()] = mask.elements(i + 1, mask.rank());
  }
}

// True when cutting `units` equal ones over the threads leaves them busy most of the time.
bool cuts_evenly(int64_t units, int threads) {
  int64_t rounds = (units + threads - 1) / threads;
  return units * 5 >= rounds * threads * 4;
}

Status prepare(Prepare& prepare) {
  State state{};
  read_form(prepare, state);
  WorkCut cut;
  HUSSAR_TRY(read_cut(prepare, cut));
  const int64_t block_rows = kBlockRows / cut.block_divisor;
  state.packs = state.queries > kFewQueries;
  state.joins_heads = state.queries == 1;
  state.rows = state.joins_heads ? state.heads / state.kv_heads : state.queries;
  state.blocks = (state.rows + block_rows - 1) / block_rows;
  state.key_floats = state.packs ? panel_floats(state.head_dim, state.keys) : 0;
  state.value_floats = state.packs ? panel_floats(state.keys, state.v_head_dim) : 0;
  double pairs = static_cast<double>(state.batch * state.heads) * static_cast<double>(state.queries * state.keys);
  double microseconds = pairs * static_cast<double>(state.head_dim + state.v_head_dim) / (state.packs ? 4e4 : 1e4);
  double packed =
      static_cast<double>(state.kv_units() * (state.key_floats + state.value_floats)) * 8 / kBytesPerMicrosecond;
  state.packs_apart = state.packs && !cuts_evenly(state.kv_units(), prepare.threads);
  int64_t units = state.kv_units() * (state.packs && !state.packs_apart ? 1 : state.units_per_kv());
  const int shares = cut_shares(share_count(microseconds + packed, prepare.threads, units), cut);
  state.shares = static_cast<int>(std::min<int64_t>(shares, units));
  state.pack_shares = share_count(packed, prepare.threads, state.kv_units());
  int64_t head_floats = state.key_floats + state.value_floats;
  state.share_floats =
      state.packs ? attend_scratch_floats(state.head_dim, state.v_head_dim) + (state.packs_apart ? 0 : head_floats)
                  : direct_scratch_floats(state.head_dim, state.keys);
  state.share_floats = round_to_panel(state.share_floats);
  int64_t apart = state.packs_apart ? state.kv_units() * head_floats : 0;
  prepare.scratch_bytes = sizeof(float) * static_cast<size_t>(apart + state.shares * state.share_floats);
  prepare.state_as<State>() = state;
  return {};
}

// Packs keys and values of one head to `out`, one after the other.
void pack_head(const Run& run, const State& state, int64_t kv_unit, float* out) {
  Isa isa = usable_isa(run.isa);
  int64_t batch = kv_unit / state.kv_heads, head = kv_unit % state.kv_heads;
  const float* keys = run.inputs[1].f32() + state.k.at(batch, head);
  PackArgs pack;
  if (state.k.column_stride == 1) {
    select_attention_table(isa).pack_keys({keys, state.k.row_stride, state.keys, state.head_dim, out});
  } else {
    pack.k = state.head_dim;
    pack.n = state.keys;
    pack.b = keys;
    pack.row_stride = state.k.column_stride;
    pack.column_stride = state.k.row_stride;
    pack.out = out;
    select_tile_table(isa).pack(pack, {0, 1});
  }
  pack.k = state.keys;
  pack.n = state.v_head_dim;
  pack.b = run.inputs[2].f32() + state.v.at(batch, head);
  pack.row_stride = state.v.row_stride;
  pack.column_stride = 1;
  pack.out = out + state.key_floats;
  select_tile_table(isa).pack(pack, {0, 1});
}

// Unit `unit` of the head kv_unit, whose packed keys and values are at `panels`.
void attend(const Run& run, const State& state, int64_t kv_unit, int64_t unit, const float* panels, float* scratch) {
  const AttentionTable& table = select_attention_table(usable_isa(run.isa));
  int64_t batch = kv_unit / state.kv_heads, kv_head = kv_unit % state.kv_heads;
  int64_t head = kv_head * (state.heads / state.kv_heads) + unit / state.blocks;
  Range rows = range_of(state.rows, {static_cast<int>(unit % state.blocks), static_cast<int>(state.blocks)});
  int64_t first = rows.begin;
  AttendArgs args;
  args.query_stride = state.joins_heads ? state.q.head_stride : state.q.row_stride;
  args.output_stride = state.joins_heads ? state.y.head_stride : state.y.row_stride;
  args.rules.mask_row_stride = state.joins_heads ? state.mask_head : state.mask_row;
  args.rules.mask_column_stride = state.mask_column;
  args.query = run.inputs[0].f32() + state.q.at(batch, head) + first * args.query_stride;
  args.output = run.outputs[0].f32_out() + state.y.at(batch, head) + first * args.output_stride;
  args.rows = rows.end - rows.begin;
  args.key_count = state.keys;
  args.dim = state.head_dim;
  args.value_dim = state.v_head_dim;
  args.scale = state.scale;
  args.rules.softcap = state.softcap;
  if (state.causal && !state.joins_heads) args.rules.first_limit = first + state.keys - state.queries + 1;
  if (run.inputs.size() > 3 && run.inputs[3].present()) {
    args.rules.mask =
        run.inputs[3].f32() + batch * state.mask_batch + head * state.mask_head + first * args.rules.mask_row_stride;
  }
  if (state.packs) {
    args.keys = panels;
    args.values = panels + state.key_floats;
    return table.attend(args, scratch);
  }
  args.keys = run.inputs[1].f32() + state.k.at(batch, kv_head);
  args.values = run.inputs[2].f32() + state.v.at(batch, kv_head);
  args.key_stride = state.k.row_stride;
  args.key_column_stride = state.k.column_stride;
  args.value_stride = state.v.row_stride;
  table.attend_directly(args, scratch);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  int64_t units = state.units_per_kv(), head_floats = state.key_floats + state.value_floats;
  if (state.kv_units() * units == 0) return {};
  auto* scratch = reinterpret_cast<float*>(run.scratch);
  if (!state.packs || state.packs_apart) {
    float* work = scratch + (state.packs ? state.kv_units() * head_floats : 0);
    if (state.packs) {
      run.pool.run(state.pack_shares, [&](int index) {
        Range range = range_of(state.kv_units(), {index, state.pack_shares});
        for (int64_t i = range.begin; i < range.end; ++i) pack_head(run, state, i, scratch + i * head_floats);
      });
    }
    run.pool.run(state.shares, [&](int index) {
      Range range = range_of(state.kv_units() * units, {index, state.shares});
      for (int64_t i = range.begin; i < range.end; ++i) {
        attend(run, state, i / units, i % units, scratch + i / units * head_floats, work + index * state.share_floats);
      }
    });
    return {};
  }
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.kv_units(), {index, state.shares});
    float* work = scratch + index * state.share_floats;
    float* panels = work + round_to_panel(attend_scratch_floats(state.head_dim, state.v_head_dim));
    for (int64_t i = range.begin; i < range.end; ++i) {
      pack_head(run, state, i, panels);
      for (int64_t unit = 0; unit < units; ++unit) attend(run, state, i, unit, panels, work);
    }
  });
  return {};
}

}  // namespace

extern const Kernel attention_kernel = {
    .name = "attention", .version = 2, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic attention_tactic = {
    .kernel = "attention", .supports = supports, .cost = cost, .configurations = configurations};

}  // namespace hussar
