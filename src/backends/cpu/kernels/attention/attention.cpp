// attention: hussar.Attention in FP32. The scores of a block of query rows stay in the cache and are never written out
// as a whole. Keys and values are packed once per head; a few queries (decoding) read them as they are instead.
#include "backends/cpu/kernels/attention/attention.h"

#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar {
namespace {

using namespace cpu;

// Up to so many queries per head it is cheaper not to pack keys and values.
constexpr int64_t kFewQueries = 4;
// A block of scores shall stay in half of the L2 cache.
constexpr int64_t kScoreFloats = 64 * 1024;
constexpr int64_t kBlockRows = 56;

enum Bit : int64_t { kQ = 1, kK = 2, kV = 4, kOut = 8 };

// Where the rows of a head lie, in elements from the tensor's first.
struct View {
  int64_t offset, batch_stride, head_stride, row_stride, column_stride;
  int64_t at(int64_t batch, int64_t head) const { return offset + batch * batch_stride + head * head_stride; }
};

struct State {
  View q, k, v, y;
  int64_t batch, heads, kv_heads, head_dim, v_head_dim, queries, keys;
  int64_t mask_batch, mask_head, mask_row, mask_column;  // strides
  float scale;
  bool causal, packs;
  int64_t block_rows, blocks, pitch;  // of the scores
  int64_t key_floats, value_floats;   // panels of one head
  int64_t tile_floats, share_floats;  // scratch of one share: scores, sums, tiles
  int32_t pack_shares, shares;

  int64_t units() const { return batch * heads * blocks; }
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.Attention"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  for (const Value* input : problem.node.inputs) {
    if (input != nullptr && input->dtype != DType::kFloat32) return "dtype";
  }
  return std::nullopt;
}

double cost(const Problem& problem) {
  double scores = Problem::elements(problem.input(0)) * Problem::elements(problem.input(2));
  double batch = std::max(1.0, Problem::elements(problem.output()) / 1e5);
  return memory_cost(problem) + scores / (batch * 3e4 * problem.target.threads);
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

Status prepare(Prepare& prepare) {
  State state{};
  read_form(prepare, state);
  state.packs = state.queries > kFewQueries;
  state.pitch = (state.keys + 15) / 16 * 16;
  state.block_rows = std::clamp<int64_t>(kScoreFloats / std::max<int64_t>(state.pitch, 1), 14, kBlockRows);
  state.block_rows = std::min(state.block_rows, std::max<int64_t>(state.queries, 1));
  state.blocks = (state.queries + state.block_rows - 1) / state.block_rows;
  state.key_floats = state.packs ? panel_floats(state.head_dim, state.keys) : 0;
  state.value_floats = state.packs ? panel_floats(state.keys, state.v_head_dim) : 0;
  state.tile_floats = (tile_scratch_bytes(std::max(state.keys, state.head_dim)) + 63) / 64 * 16;
  state.share_floats = state.block_rows * state.pitch + (state.block_rows + 15) / 16 * 16 + state.tile_floats;
  double heads = static_cast<double>(state.batch * state.heads);
  double pairs = heads * static_cast<double>(state.queries * state.keys);
  double microseconds = pairs * static_cast<double>(state.head_dim + state.v_head_dim) / (state.packs ? 4e4 : 1e4);
  state.shares = share_count(microseconds, prepare.threads, state.units());
  int64_t kv_units = state.batch * state.kv_heads;
  double packed = static_cast<double>(kv_units * (state.key_floats + state.value_floats)) * 8 / kBytesPerMicrosecond;
  state.pack_shares = share_count(packed, prepare.threads, kv_units);
  prepare.scratch_bytes = sizeof(float) * static_cast<size_t>(kv_units * (state.key_floats + state.value_floats) +
                                                              state.shares * state.share_floats);
  prepare.state_as<State>() = state;
  return {};
}

void pack_heads(const Run& run, const State& state, float* keys, float* values, Range range) {
  const TileTable& table = select_tile_table(usable_isa(run.isa));
  for (int64_t unit = range.begin; unit < range.end; ++unit) {
    int64_t batch = unit / state.kv_heads, head = unit % state.kv_heads;
    PackArgs pack;
    pack.k = state.head_dim;
    pack.n = state.keys;
    pack.b = run.inputs[1].f32() + state.k.at(batch, head);
    pack.row_stride = state.k.column_stride;
    pack.column_stride = state.k.row_stride;
    pack.out = keys + unit * state.key_floats;
    table.pack(pack, {0, 1});
    pack.k = state.keys;
    pack.n = state.v_head_dim;
    pack.b = run.inputs[2].f32() + state.v.at(batch, head);
    pack.row_stride = state.v.row_stride;
    pack.column_stride = 1;
    pack.out = values + unit * state.value_floats;
    table.pack(pack, {0, 1});
  }
}

// The query rows [first, first + rows) of one head.
struct Block {
  int64_t batch, head, kv_unit, first, rows;
  const float* query;
  float* output;
  float* scores;
  float* sums;
  float* tiles;
};

AttentionScores scores_of(const Run& run, const State& state, const Block& block) {
  AttentionScores scores{block.scores, state.pitch, block.rows,     state.keys,        state.keys,
                         state.scale,  nullptr,     state.mask_row, state.mask_column, block.sums};
  if (state.causal) scores.first_limit = block.first + state.keys - state.queries + 1;
  // Without a causal bound every row sees all keys: the limit only grows from row to row.
  if (run.inputs.size() > 3 && run.inputs[3].present()) {
    scores.mask = run.inputs[3].f32() + block.batch * state.mask_batch + block.head * state.mask_head +
                  block.first * state.mask_row;
  }
  return scores;
}

void attend_packed(const Run& run, const State& state, const Block& block, const float* keys, const float* values) {
  const TileTable& tile = select_tile_table(usable_isa(run.isa));
  const AttentionTable& table = select_attention_table(usable_isa(run.isa));
  AttentionScores scores = scores_of(run, state, block);
  GemmArgs args;
  args.m = block.rows;
  args.n = std::clamp<int64_t>(scores.first_limit + block.rows - 1, 0, state.keys);
  args.k = state.head_dim;
  args.a = block.query;
  args.a_row_stride = state.q.row_stride;
  args.b = keys + block.kv_unit * state.key_floats;
  args.c = block.scores;
  args.c_row_stride = state.pitch;
  if (args.n > 0) tile.gemm(args, {0, 1}, block.tiles);
  table.exponentials(scores);
  args.n = state.v_head_dim;
  args.k = state.keys;
  args.a = block.scores;
  args.a_row_stride = state.pitch;
  args.b = values + block.kv_unit * state.value_floats;
  args.c = block.output;
  args.c_row_stride = state.y.row_stride;
  tile.gemm(args, {0, 1}, block.tiles);
  table.scale_rows(block.output, state.y.row_stride, block.rows, state.v_head_dim, block.sums);
}

void attend_directly(const Run& run, const State& state, const Block& block) {
  const AttentionTable& table = select_attention_table(usable_isa(run.isa));
  int64_t kv_head = block.kv_unit % state.kv_heads;
  const float* key = run.inputs[1].f32() + state.k.at(block.batch, kv_head);
  const float* value = run.inputs[2].f32() + state.v.at(block.batch, kv_head);
  for (int64_t i = 0; i < block.rows; ++i) {
    const float* query = block.query + i * state.q.row_stride;
    float* scores = block.scores + i * state.pitch;
    if (state.k.column_stride == 1) {
      table.dot_rows(key, state.k.row_stride, query, scores, state.keys, state.head_dim);
    } else {
      table.sum_rows(key, state.k.column_stride, query, 1.0f, scores, state.head_dim, state.keys);
    }
  }
  table.exponentials(scores_of(run, state, block));
  for (int64_t i = 0; i < block.rows; ++i) {
    table.sum_rows(value, state.v.row_stride, block.scores + i * state.pitch, block.sums[i],
                   block.output + i * state.y.row_stride, state.keys, state.v_head_dim);
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.units() == 0) return {};
  auto* keys = reinterpret_cast<float*>(run.scratch);
  int64_t kv_units = state.batch * state.kv_heads;
  float* values = keys + kv_units * state.key_floats;
  float* work = values + kv_units * state.value_floats;
  if (state.packs) {
    run.pool.run(state.pack_shares, [&](int index) {
      pack_heads(run, state, keys, values, range_of(kv_units, {index, state.pack_shares}));
    });
  }
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.units(), {index, state.shares});
    for (int64_t unit = range.begin; unit < range.end; ++unit) {
      Block block{};
      block.head = unit / state.blocks % state.heads;
      block.batch = unit / state.blocks / state.heads;
      block.kv_unit = block.batch * state.kv_heads + block.head / (state.heads / state.kv_heads);
      block.first = unit % state.blocks * state.block_rows;
      block.rows = std::min(state.block_rows, state.queries - block.first);
      block.query = run.inputs[0].f32() + state.q.at(block.batch, block.head) + block.first * state.q.row_stride;
      block.output = run.outputs[0].f32_out() + state.y.at(block.batch, block.head) + block.first * state.y.row_stride;
      block.scores = work + index * state.share_floats;
      block.sums = block.scores + state.block_rows * state.pitch;
      block.tiles = block.sums + (state.block_rows + 15) / 16 * 16;
      if (state.packs) {
        attend_packed(run, state, block, keys, values);
      } else {
        attend_directly(run, state, block);
      }
    }
  });
  return {};
}

}  // namespace

extern const Kernel attention_kernel = {
    .name = "attention", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic attention_tactic = {.kernel = "attention", .supports = supports, .cost = cost};

}  // namespace hussar
