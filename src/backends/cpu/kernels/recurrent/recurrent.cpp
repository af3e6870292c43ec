// recurrent: LSTM and GRU in FP32 with the default activations, in any direction and both layouts.
//
// The products with the input are one matrix product over all steps; the recurrent part goes step by step, directions
// and sequences shared between threads.
#include "backends/cpu/kernels/recurrent/recurrent.h"

#include <cstring>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr size_t kX = 0, kW = 1, kR = 2, kBias = 3, kLengths = 4, kInitialH = 5, kInitialC = 6, kPeepholes = 7;
// With fewer rows than this, packing the weights for the matrix product costs more than it brings.
constexpr int64_t kRowsWorthPacking = 8;

struct State {
  int64_t steps, batch, inputs, hidden, directions, gates;  // gates: rows of W, 3 or 4 times hidden
  bool is_lstm, is_reverse, batch_first, linear_before_reset, packs;
  int32_t shares, product_shares;
  // Where the parts of the scratch begin, in floats.
  int64_t bias, states, work, panels, products, tiles;
  int64_t work_of_share, tile_floats;

  int64_t rows() const { return steps * batch; }
  int64_t row(int64_t t, int64_t b) const { return batch_first ? b * steps + t : t * batch + b; }
  int64_t state_offset(int64_t d, int64_t b) const {
    return (batch_first ? b * directions + d : d * batch + b) * hidden;
  }
  int64_t y_offset(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) * hidden;
  }
};

bool has_default_activations(const Problem& problem) {
  Strings names = problem.node.attributes.get_strings("activations");
  size_t each = problem.node.op == "LSTM" ? 3 : 2;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != (i % each == 0 ? "Sigmoid" : "Tanh")) return false;
  }
  return true;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"LSTM", "GRU"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  if (problem.dtype(kX) != DType::kFloat32) return "dtype";
  if (problem.input(kLengths) != nullptr) return "sequence_lens";
  if (problem.input(kPeepholes) != nullptr) return "peepholes";
  if (problem.node.attributes.has("clip")) return "clip";
  if (problem.node.attributes.get_int("input_forget", 0) != 0) return "input_forget";
  if (!has_default_activations(problem)) return "activations";
  return std::nullopt;
}

double cost(const Problem& problem) {
  // Every step reads the recurrent weights from the cache.
  double steps = Problem::elements(problem.input(kX)) / 64;
  return memory_cost(problem) + steps * bytes_of(problem.input(kR)) / 6e4;
}

Status prepare(Prepare& prepare) {
  const Attributes& attributes = prepare.step.attributes;
  const Shape& x = prepare.inputs[kX].shape;
  const Shape& r = prepare.inputs[kR].shape;
  State state{};
  state.batch_first = attributes.get_int("layout", 0) != 0;
  state.steps = x[state.batch_first ? 1 : 0];
  state.batch = x[state.batch_first ? 0 : 1];
  state.inputs = x[2];
  state.directions = r[0];
  state.gates = r[1];
  state.hidden = r[2];
  state.is_lstm = prepare.step.op == "LSTM";
  std::string direction = attributes.get_string("direction", "forward");
  state.is_reverse = direction == "reverse" || direction == "REVERSE" || direction == "Reverse";
  state.linear_before_reset = attributes.get_int("linear_before_reset", 0) != 0;
  int64_t sequences = state.directions * state.batch;
  double recurrent = static_cast<double>(state.steps * sequences * state.gates * state.hidden) / 1.5e4;
  double products = static_cast<double>(state.rows() * state.directions * state.gates * state.inputs) / 3e4;
  state.packs = state.rows() >= kRowsWorthPacking;
  state.shares = share_count(state.packs ? recurrent : recurrent + products, prepare.threads, sequences);
  state.product_shares = share_count(products, prepare.threads, state.rows());
  int64_t next = 0;
  auto take = [&next](int64_t floats) {
    int64_t begin = next;
    next += (floats + 15) / 16 * 16;
    return begin;
  };
  state.bias = take(state.directions * state.gates);
  state.states = take(2 * sequences * state.hidden);
  // The gates with one more row of hidden size, and room for the input's part of one step.
  state.work_of_share = (2 * state.gates + state.hidden + 15) / 16 * 16;
  state.work = take(state.shares * state.work_of_share);
  if (state.packs) {
    state.panels = take(panel_floats(state.inputs, state.gates));
    state.products = take(state.directions * state.rows() * state.gates);
    state.tile_floats = (tile_scratch_bytes(state.inputs) + 63) / 64 * 16;
    state.tiles = take(state.product_shares * state.tile_floats);
  }
  prepare.scratch_bytes = static_cast<size_t>(next) * sizeof(float);
  prepare.state_as<State>() = state;
  return {};
}

const float* optional_input(const Run& run, size_t index) {
  return index < run.inputs.size() && run.inputs[index].present() ? run.inputs[index].f32() : nullptr;
}

float* optional_output(const Run& run, size_t index) {
  return index < run.outputs.size() && run.outputs[index].present() ? run.outputs[index].f32_out() : nullptr;
}

// The biases of the input and of the recurrent part, as far as they may be added up: the candidate's recurrent bias of
// a GRU with linear_before_reset is scaled by the reset gate, so it stays apart.
void add_biases(const Run& run, const State& state, float* out) {
  const float* bias = optional_input(run, kBias);
  for (int64_t d = 0; d < state.directions; ++d) {
    for (int64_t i = 0; i < state.gates; ++i) {
      bool apart = !state.is_lstm && state.linear_before_reset && i >= 2 * state.hidden;
      const float* own = bias == nullptr ? nullptr : bias + d * 2 * state.gates + i;
      out[d * state.gates + i] = own == nullptr ? 0 : own[0] + (apart ? 0 : own[state.gates]);
    }
  }
}

// products[d] = x w[d] + bias[d], over all steps and sequences.
void multiply_inputs(const Run& run, const State& state, float* scratch) {
  const TileTable& table = select_tile_table(active_isa());
  for (int64_t d = 0; d < state.directions; ++d) {
    PackArgs pack;
    pack.k = state.inputs;
    pack.n = state.gates;
    pack.b = run.inputs[kW].f32() + d * state.gates * state.inputs;
    pack.row_stride = 1;
    pack.column_stride = state.inputs;
    pack.out = scratch + state.panels;
    run.pool.run(state.product_shares, [&](int index) { table.pack(pack, {index, state.product_shares}); });
    GemmArgs args;
    args.m = state.rows();
    args.n = state.gates;
    args.k = state.inputs;
    args.a = run.inputs[kX].f32();
    args.a_row_stride = state.inputs;
    args.b = pack.out;
    args.c = scratch + state.products + d * state.rows() * state.gates;
    args.c_row_stride = state.gates;
    args.epilogue.bias = scratch + state.bias + d * state.gates;
    run.pool.run(state.product_shares, [&](int index) {
      table.gemm(args, {index, state.product_shares}, scratch + state.tiles + index * state.tile_floats);
    });
  }
}

// One sequence in one direction.
struct Sequence {
  const float* r;
  const float* candidate_bias;  // GRU with linear_before_reset, or null
  float* h;
  float* c;
  float* work;  // [gates + hidden]
};

// `inputs`: the gates' part that comes from the input, or their bias when `work` holds nothing yet.
void advance(const State& state, const RecurrentTable& table, const Sequence& sequence, const float* inputs) {
  int64_t hidden = state.hidden;
  if (state.is_lstm) {
    table.multiply(sequence.r, sequence.h, inputs, sequence.work, state.gates, hidden);
    table.lstm_cell(sequence.work, sequence.c, sequence.h, hidden);
    return;
  }
  float* candidate = sequence.work + 2 * hidden;
  float* reset_h = sequence.work + 3 * hidden;
  const float* candidate_rows = sequence.r + 2 * hidden * hidden;
  const float* reset = state.linear_before_reset ? sequence.work + hidden : nullptr;
  table.multiply(sequence.r, sequence.h, inputs, sequence.work, 2 * hidden, hidden);
  table.gru_gates(sequence.work, sequence.h, reset_h, hidden);
  if (sequence.candidate_bias != nullptr) {
    std::memcpy(candidate, sequence.candidate_bias, static_cast<size_t>(hidden) * sizeof(float));
  } else {
    std::fill(candidate, candidate + hidden, 0.0f);
  }
  table.multiply(candidate_rows, reset != nullptr ? sequence.h : reset_h, candidate, candidate, hidden, hidden);
  table.gru_cell(sequence.work, inputs + 2 * hidden, reset, candidate, sequence.h, hidden);
}

void run_sequence(const Run& run, const State& state, float* scratch, int64_t d, int64_t b, float* work,
                  float* inputs) {
  const RecurrentTable& table = select_recurrent_table(active_isa());
  int64_t hidden = state.hidden, place = (d * state.batch + b) * hidden;
  const float* bias = optional_input(run, kBias);
  bool apart = !state.is_lstm && state.linear_before_reset && bias != nullptr;
  Sequence sequence{run.inputs[kR].f32() + d * state.gates * hidden,
                    apart ? bias + d * 2 * state.gates + state.gates + 2 * hidden : nullptr,
                    scratch + state.states + place,
                    scratch + state.states + state.directions * state.batch * hidden + place, work};
  auto begin_state = [&](size_t input, float* to) {
    const float* from = optional_input(run, input);
    if (from == nullptr) {
      std::fill(to, to + hidden, 0.0f);
    } else {
      std::memcpy(to, from + state.state_offset(d, b), static_cast<size_t>(hidden) * sizeof(float));
    }
  };
  begin_state(kInitialH, sequence.h);
  begin_state(kInitialC, sequence.c);
  float* y = optional_output(run, 0);
  auto bytes = static_cast<size_t>(hidden) * sizeof(float);
  for (int64_t s = 0; s < state.steps; ++s) {
    int64_t t = state.is_reverse || d == 1 ? state.steps - 1 - s : s;
    const float* products = scratch + state.products + (d * state.rows() + state.row(t, b)) * state.gates;
    if (!state.packs) {
      table.multiply(run.inputs[kW].f32() + d * state.gates * state.inputs,
                     run.inputs[kX].f32() + state.row(t, b) * state.inputs, scratch + state.bias + d * state.gates,
                     inputs, state.gates, state.inputs);
      products = inputs;
    }
    advance(state, table, sequence, products);
    if (y != nullptr) std::memcpy(y + state.y_offset(t, d, b), sequence.h, bytes);
  }
  if (float* last = optional_output(run, 1)) std::memcpy(last + state.state_offset(d, b), sequence.h, bytes);
  if (float* last = optional_output(run, 2)) std::memcpy(last + state.state_offset(d, b), sequence.c, bytes);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  auto* scratch = reinterpret_cast<float*>(run.scratch);
  add_biases(run, state, scratch + state.bias);
  if (state.packs) multiply_inputs(run, state, scratch);
  int64_t sequences = state.directions * state.batch;
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(sequences, {index, state.shares});
    float* work = scratch + state.work + index * state.work_of_share;
    for (int64_t i = range.begin; i < range.end; ++i) {
      run_sequence(run, state, scratch, i / state.batch, i % state.batch, work, work + state.gates + state.hidden);
    }
  });
  return {};
}

}  // namespace

extern const Kernel recurrent_kernel = {
    .name = "recurrent", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic recurrent_tactic = {.kernel = "recurrent", .supports = supports, .cost = cost};

}  // namespace hussar
