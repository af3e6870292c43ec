// cuda_transpose: Transpose and Reformat where neighbours of the output lie apart in the input.
#include "backends/cuda/copy_nest.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kLoops = "hussar_loops";
constexpr int64_t kTile = 32, kShortest = 16;  // below, most of a tile would be empty

LoopNest nest_of(std::string_view op, const Attributes& attributes, const Operand& x, const Operand& y) {
  return op == "Transpose" ? transpose_nest(attributes, x, y) : expand_nest(x, y);
}

// The loop whose elements lie side by side in the input; -1: there is none, or it is the innermost one.
int row_axis(const LoopNest& nest) {
  for (int axis = 0; axis + 1 < nest.rank; ++axis) {
    if (nest.strides[1][axis] == 1) return axis;
  }
  return -1;
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (Refusal refusal = refuse_op(problem, {"Transpose", "hussar.Reformat"})) return refusal;
  if (node.program) return "fused program";
  const auto size = static_cast<int64_t>(dtype_size(problem.dtype(0)));
  if (size > 8 || word_of(size).empty()) return "dtype";
  const LoopNest nest = nest_of(node.op, node.attributes, operand_of(*node.inputs[0]), operand_of(*node.outputs[0]));
  const int row = row_axis(nest);
  if (row < 0 || nest.strides[0][nest.rank - 1] != 1) return "neighbours stay neighbours";
  if (nest.dims[row] < kShortest || nest.dims[nest.rank - 1] < kShortest) return "short axes";
  return std::nullopt;
}

double cost(const Problem& problem) { return 0.99 * memory_cost(problem); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& x = *node.inputs[0];
  const LoopNest nest = nest_of(node.op, node.attributes, operand_of(x), operand_of(*node.outputs[0]));
  const int64_t rest = std::max(nest.rank - 2, 1);
  node.attributes.set(kLoops, rest);
  Defines defines;
  defines.set("REST", rest).set("WORD", word_of(static_cast<int64_t>(dtype_size(x.dtype))));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "transpose.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kLoops);
  return {};
}

struct State {
  Launch launch;
  LoopNest rest;
  int64_t tiles, rows, columns, row_tiles, column_tiles, input_column, output_row;
};

Status prepare(Prepare& prepare) {
  LoopNest nest = nest_of(prepare.step.op, prepare.step.attributes, prepare.inputs[0], prepare.outputs[0]);
  State& state = prepare.state_as<State>();
  // Of shapes that were not known when the code was made, axes may be missing: then one of them has one element.
  const int last = nest.rank - 1;
  const bool has_columns = nest.strides[0][last] == 1 && nest.strides[1][last] != 1;
  const int row = row_axis(nest);
  state.columns = has_columns ? nest.dims[last] : 1;
  state.input_column = has_columns ? nest.strides[1][last] : 0;
  const int from = row >= 0 ? row : !has_columns && nest.strides[1][last] == 1 ? last : -1;
  state.rows = from >= 0 ? nest.dims[from] : 1;
  state.output_row = from >= 0 ? nest.strides[0][from] : 0;
  LoopNest& rest = state.rest;
  rest = LoopNest{};
  rest.rank = 0;
  rest.tensors = 2;
  for (int axis = 0; axis < nest.rank; ++axis) {
    if (axis == from || (axis == last && has_columns)) continue;
    rest.dims[rest.rank] = nest.dims[axis];
    for (int t : {0, 1}) rest.strides[t][rest.rank] = nest.strides[t][axis];
    ++rest.rank;
  }
  const int64_t loops = prepare.step.attributes.get_int(kLoops, 0);
  HUSSAR_CHECK(pad_loops(rest, loops), ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", prepare.step.name);
  state.row_tiles = (state.rows + kTile - 1) / kTile;
  state.column_tiles = (state.columns + kTile - 1) / kTile;
  state.tiles = rest.elements() * state.row_tiles * state.column_tiles;
  state.launch = HUSSAR_TRY(launch_for(prepare, "transpose", 0));
  state.launch.grid[0] = blocks_for(state.tiles, 1);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.tiles, state.rows, state.columns, state.row_tiles, state.column_tiles, state.input_column,
                        state.output_row}) {
    words.put(value);
  }
  for (const int64_t* values : {state.rest.dims, state.rest.strides[1], state.rest.strides[0]}) {
    for (int axis = 0; axis < state.rest.rank; ++axis) words.put(values[axis]);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_transpose_kernel = {
    .name = "cuda_transpose", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_transpose_tactic = {.kernel = "cuda_transpose",
                                             .place = Place::kDevice,
                                             .supports = supports,
                                             .cost = cost,
                                             .pack = pack,
                                             .unpack = unpack};

}  // namespace hussar
