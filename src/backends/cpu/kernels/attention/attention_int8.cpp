// attention_int8: hussar.QuantizedAttention. Keys and values are packed once per head, then blocks of queries go
// through both products and the softmax between them, tile by tile.
#include "backends/cpu/kernels/attention/attention_int8.h"

#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

// The most query rows of one unit of work: whole tiles of every level but for one.
constexpr int64_t kBlockRows = 128;
constexpr size_t kMask = 6;

// Where the rows of a head lie, in elements from the tensor's first.
struct View {
  int64_t offset, batch_stride, head_stride, row_stride;
  int64_t at(int64_t batch, int64_t head) const { return offset + batch * batch_stride + head * head_stride; }
};

// One unit is a block of queries of one head. When the heads alone keep all threads busy, a share packs keys and values
// of a head right before its units: they are still in that core's cache, and no other core waits for them.
struct State {
  View q, k, v, y;
  int64_t batch, heads, kv_heads, head_dim, v_head_dim, queries, keys;
  int64_t mask_batch, mask_head, mask_row, mask_column;  // strides
  int32_t q_zero_point, k_zero_point, v_zero_point, y_zero_point;
  float scale, y_scale;
  bool causal, packs_apart;
  int64_t blocks;                                                // of one query head
  int64_t key_bytes, value_bytes, correction_bytes, head_bytes;  // packed, of one head
  int64_t share_bytes;                                           // scratch of one share
  int32_t pack_shares, shares;

  int64_t kv_units() const { return batch * kv_heads; }
  int64_t units_per_kv() const { return heads / kv_heads * blocks; }
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.QuantizedAttention"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  for (size_t i = 0; i < 3; ++i) {
    if (problem.dtype(i) != DType::kUInt8) return "dtype";
  }
  const DType output = problem.output()->dtype;
  if (output != DType::kUInt8 && output != DType::kFloat32) return "dtype";
  if (problem.input(kMask) != nullptr && problem.dtype(kMask) != DType::kFloat32) return "dtype";
  if (problem.input(kMask + 1) != nullptr) return "sequences behind one another";
  return std::nullopt;
}

double cost(const Problem& problem) {
  const int isa = problem.target.isa;
  const double flops_per_microsecond = isa >= static_cast<int>(Isa::kAvx512) ? 2.5e5 : isa > 0 ? 1.3e5 : 3e3;
  constexpr double kLikelyKeys = 64;
  const Value* v = problem.input(2);
  const Dim* keys = v->dims && v->dims->size() > 1 ? &(*v->dims)[1] : nullptr;
  const double flops = 4 * Problem::elements(problem.output()) *
                       (keys != nullptr && keys->is_constant() ? static_cast<double>(keys->value()) : kLikelyKeys);
  return memory_cost(problem) + flops / (flops_per_microsecond * problem.target.threads);
}

View view_of(const Shape& shape, int64_t offset, int64_t dim) { return {offset, shape[1] * shape[2], dim, shape[2]}; }

void read_form(const Prepare& prepare, State& state) {
  const Attributes& attributes = prepare.step.attributes;
  const Shape& q = prepare.inputs[0].shape;
  const Shape& v = prepare.inputs[2].shape;
  state.heads = attributes.get_int("heads", 1);
  state.kv_heads = attributes.get_int("kv_heads", state.heads);
  state.head_dim = attributes.get_int("head_dim", 1);
  state.v_head_dim = attributes.get_int("v_head_dim", state.head_dim);
  state.scale = attributes.get_float("scale", 1.0f / std::sqrt(static_cast<float>(state.head_dim)));
  state.causal = attributes.get_int("causal", 0) != 0;
  state.q_zero_point = static_cast<int32_t>(attributes.get_int("q_zero_point", 0));
  state.k_zero_point = static_cast<int32_t>(attributes.get_int("k_zero_point", 0));
  state.v_zero_point = static_cast<int32_t>(attributes.get_int("v_zero_point", 0));
  state.y_zero_point = static_cast<int32_t>(attributes.get_int("y_zero_point", 0));
  state.y_scale = attributes.get_float("y_scale", 1);
  state.batch = q[0];
  state.queries = q[1];
  state.keys = v[1];
  state.q = view_of(q, attributes.get_int("q_offset", 0), state.head_dim);
  state.k = view_of(prepare.inputs[1].shape, attributes.get_int("k_offset", 0), state.head_dim);
  state.v = view_of(v, attributes.get_int("v_offset", 0), state.v_head_dim);
  state.y = view_of(prepare.outputs[0].shape, 0, state.v_head_dim);
  if (prepare.inputs.size() <= kMask || !prepare.inputs[kMask].present()) return;
  const Shape& mask = prepare.inputs[kMask].shape;
  int64_t* strides[] = {&state.mask_batch, &state.mask_head, &state.mask_row, &state.mask_column};
  for (int i = 0; i < mask.rank(); ++i) {
    if (mask[i] != 1) *strides[i + 4 - mask.rank()] = mask.elements(i + 1, mask.rank());
  }
}

// True when cutting `units` equal ones over the threads leaves them busy most of the time.
bool cuts_evenly(int64_t units, int threads) {
  const int64_t rounds = (units + threads - 1) / threads;
  return units * 5 >= rounds * threads * 4;
}

Status prepare(Prepare& prepare) {
  State state{};
  read_form(prepare, state);
  HUSSAR_CHECK(state.keys <= kInt8AttentionDepth && state.head_dim <= kInt8AttentionDepth, ErrorCode::kRunFailed,
               "step '{}': attention in INT8 takes up to {} keys, not {}; build the plan with --precision '{}=fp32'",
               prepare.step.name, kInt8AttentionDepth, state.keys, prepare.step.name);
  state.blocks = (state.queries + kBlockRows - 1) / kBlockRows;
  state.key_bytes = packed_bytes(state.head_dim, state.keys);
  state.value_bytes = packed_bytes(state.keys, state.v_head_dim);
  state.correction_bytes = int8_depth(round_to_panel(state.keys) * static_cast<int64_t>(sizeof(int32_t)));
  state.head_bytes = state.key_bytes + state.value_bytes + state.correction_bytes;
  const double pairs = static_cast<double>(state.batch * state.heads) * static_cast<double>(state.queries * state.keys);
  const double microseconds = pairs * (static_cast<double>(state.head_dim + state.v_head_dim) / 1e5 + 1.0 / 2e3);
  const double packed = static_cast<double>(state.kv_units() * state.head_bytes) * 2 / kBytesPerMicrosecond;
  state.packs_apart = !cuts_evenly(state.kv_units(), prepare.threads);
  const int64_t units = state.kv_units() * (state.packs_apart ? state.units_per_kv() : 1);
  state.shares = share_count(microseconds + packed, prepare.threads, units);
  state.pack_shares = share_count(packed, prepare.threads, state.kv_units());
  const int64_t work = int8_attention_scratch(state.head_dim, state.keys);
  state.share_bytes = work + (state.packs_apart ? 0 : state.head_bytes);
  const int64_t apart = state.packs_apart ? state.kv_units() * state.head_bytes : 0;
  prepare.scratch_bytes = static_cast<size_t>(
      apart + std::max(state.shares, state.packs_apart ? state.pack_shares : 0) * state.share_bytes);
  prepare.state_as<State>() = state;
  return {};
}

int32_t* corrections_of(const State& state, int8_t* packed) {
  return reinterpret_cast<int32_t*>(packed + state.key_bytes + state.value_bytes);
}

// Packs keys and values of one head to `out`: keys, values, corrections.
void pack_head(const Run& run, const State& state, int64_t kv_unit, int8_t* out, void* scratch) {
  const int64_t batch = kv_unit / state.kv_heads, head = kv_unit % state.kv_heads;
  Int8PackArgs args;
  args.keys = run.inputs[1].as<const uint8_t>() + state.k.at(batch, head);
  args.values = run.inputs[2].as<const uint8_t>() + state.v.at(batch, head);
  args.key_stride = state.k.row_stride;
  args.value_stride = state.v.row_stride;
  args.key_count = state.keys;
  args.dim = state.head_dim;
  args.value_dim = state.v_head_dim;
  args.query_zero_point = state.q_zero_point;
  args.packed_keys = out;
  args.packed_values = out + state.key_bytes;
  args.corrections = corrections_of(state, out);
  int8_attention(usable_isa(run.isa)).pack(args, scratch);
}

// Unit `unit` of the head kv_unit, whose packed keys and values are at `packed`.
void attend(const Run& run, const State& state, int64_t kv_unit, int64_t unit, int8_t* packed, void* scratch) {
  const int64_t batch = kv_unit / state.kv_heads, kv_head = kv_unit % state.kv_heads;
  const int64_t head = kv_head * (state.heads / state.kv_heads) + unit / state.blocks;
  const Range rows = range_of(state.queries, {static_cast<int>(unit % state.blocks), static_cast<int>(state.blocks)});
  const int64_t first = rows.begin;
  Int8AttendArgs args;
  args.query = run.inputs[0].as<const uint8_t>() + state.q.at(batch, head) + first * state.q.row_stride;
  args.query_stride = state.q.row_stride;
  args.rows = rows.end - rows.begin;
  args.keys = packed;
  args.values = packed + state.key_bytes;
  args.corrections = corrections_of(state, packed);
  args.key_count = state.keys;
  args.dim = state.head_dim;
  args.value_dim = state.v_head_dim;
  args.query_zero_point = state.q_zero_point;
  args.key_offset = 128 - state.k_zero_point;
  args.value_offset = 128 - state.v_zero_point;
  args.scale = run.inputs[3].f32()[head] * run.inputs[4].f32()[kv_head] * state.scale;
  args.value_scales = run.inputs[5].f32() + kv_head * state.v_head_dim;
  if (state.causal) args.rules.first_limit = first + state.keys - state.queries + 1;
  if (run.inputs.size() > kMask && run.inputs[kMask].present()) {
    args.rules.mask_row_stride = state.mask_row;
    args.rules.mask_column_stride = state.mask_column;
    args.rules.mask =
        run.inputs[kMask].f32() + batch * state.mask_batch + head * state.mask_head + first * state.mask_row;
  }
  const int64_t output = state.y.at(batch, head) + first * state.y.row_stride;
  args.output_stride = state.y.row_stride;
  args.output_scale = state.y_scale;
  args.output_zero_point = state.y_zero_point;
  if (run.outputs[0].dtype == DType::kUInt8) {
    args.bytes = run.outputs[0].as<uint8_t>() + output;
  } else {
    args.reals = run.outputs[0].f32_out() + output;
  }
  int8_attention(usable_isa(run.isa)).attend(args, scratch);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const int64_t units = state.units_per_kv();
  if (state.kv_units() * units == 0) return {};
  auto* const memory = reinterpret_cast<int8_t*>(run.scratch);
  if (state.packs_apart) {
    int8_t* const work = memory + state.kv_units() * state.head_bytes;
    run.pool.run(state.pack_shares, [&](int index) {
      const Range range = range_of(state.kv_units(), {index, state.pack_shares});
      for (int64_t i = range.begin; i < range.end; ++i)
        pack_head(run, state, i, memory + i * state.head_bytes, work + index * state.share_bytes);
    });
    run.pool.run(state.shares, [&](int index) {
      const Range range = range_of(state.kv_units() * units, {index, state.shares});
      for (int64_t i = range.begin; i < range.end; ++i) {
        attend(run, state, i / units, i % units, memory + i / units * state.head_bytes,
               work + index * state.share_bytes);
      }
    });
    return {};
  }
  run.pool.run(state.shares, [&](int index) {
    const Range range = range_of(state.kv_units(), {index, state.shares});
    int8_t* const packed = memory + index * state.share_bytes;
    int8_t* const work = packed + state.head_bytes;
    for (int64_t i = range.begin; i < range.end; ++i) {
      pack_head(run, state, i, packed, work);
      for (int64_t unit = 0; unit < units; ++unit) attend(run, state, i, unit, packed, work);
    }
  });
  return {};
}

}  // namespace

extern const Kernel attention_int8_kernel = {.name = "attention_int8",
                                             .state_bytes = sizeof(State),
                                             .multiplies_in = DType::kInt8,
                                             .prepare = prepare,
                                             .run = run};
extern const Tactic attention_int8_tactic = {.kernel = "attention_int8", .supports = supports, .cost = cost};

}  // namespace hussar
