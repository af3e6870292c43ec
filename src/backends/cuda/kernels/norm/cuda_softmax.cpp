// cuda_softmax: Softmax and LogSoftmax along any axis of plain tensors, and along the channels of channels-last ones.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

// The axis among those around it. Its elements lie side by side where inner is 1.
struct Split {
  int64_t outer = 1, length = 1, inner = 1;
  int64_t input_pitch = 1, output_pitch = 1;  // from row to row
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Softmax", "LogSoftmax"})) return refusal;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (!is_float(x.dtype) || !is_float(y.dtype)) return "dtype";
  if (x.layout != y.layout) return "mixed layouts";
  if (x.rank() < 1) return "rank";
  const int axis = axis_from_front(problem.node.attributes.get_int("axis", -1), x.rank());
  if (x.layout == Layout::kChannelsLast && axis != 1) return "axis";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

bool is_inner_one(const Value& x, int axis) {
  return x.layout == Layout::kChannelsLast || known_elements(*x.dims, axis + 1, x.rank()) == 1;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value &x = *node.inputs[0], &y = *node.outputs[0];
  const int axis = axis_from_front(node.attributes.get_int("axis", -1), x.rank());
  const bool has_rows = is_inner_one(x, axis);
  const bool is_last = x.layout == Layout::kChannelsLast;
  const int64_t length = known((*x.dims)[static_cast<size_t>(axis)]);
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("OUTPUT_TYPE", memory_type(y.dtype));
  defines.set("LOGARITHM", node.op == "LogSoftmax" ? 1 : 0);
  if (!has_rows) return attach_code(packing, assemble(defines, {"numbers.cuh", "softmax_columns.cuh"}));
  const RowOperand input{&x, is_last ? known_pitch(x) : length}, output{&y, is_last ? known_pitch(y) : length};
  define_rows(row_form(length, {input, output}), node, defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "softmax.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

struct State {
  Launch launch;
  Split split;
  bool has_rows;
};

Status prepare(Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const int rank = x.shape.rank();
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", -1), rank);
  State& state = prepare.state_as<State>();
  Split& split = state.split = Split{};
  split.length = x.shape[axis];
  split.input_pitch = split.output_pitch = split.length;
  if (x.layout == Layout::kChannelsLast) {
    split.outer = x.shape[0] * x.shape.elements(2, rank);
    split.input_pitch = x.pitch;
    split.output_pitch = y.pitch;
  } else {
    split.outer = x.shape.elements(0, axis);
    split.inner = x.shape.elements(axis + 1, rank);
  }
  state.has_rows = !prepare.step.attributes.get_ints(kRowsAttribute).empty();
  if (state.has_rows) {
    HUSSAR_CHECK(split.inner == 1 || x.shape.elements() == 0, ErrorCode::kPlanIncompatible,
                 "step '{}': its code is for other shapes; build the plan again", prepare.step.name);
    state.launch = HUSSAR_TRY(
        prepare_rows(prepare, "softmax", split.outer, split.length, {split.input_pitch, split.output_pitch}));
    return {};
  }
  state.launch = Launch{};
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "softmax_columns"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(split.outer * split.inner, 256);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Split& split = state.split;
  Words words;
  if (state.has_rows) {
    for (int64_t value : {split.outer, split.length, split.input_pitch, split.output_pitch}) words.put(value);
  } else {
    for (int64_t value : {split.outer * split.inner, split.length, split.inner}) words.put(value);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_softmax_kernel = {
    .name = "cuda_softmax", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_softmax_tactic = {.kernel = "cuda_softmax",
                                           .place = Place::kDevice,
                                           .supports = supports,
                                           .cost = cost,
                                           .pack = pack,
                                           .unpack = unpack};

}  // namespace hussar
