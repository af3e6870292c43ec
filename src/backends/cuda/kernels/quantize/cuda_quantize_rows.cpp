// cuda_quantize_rows: hussar.QuantizeRows, a row by a warp or a block.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/row_bytes.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.QuantizeRows"})) return refusal;
  const Value &x = *problem.input(0), &bytes = *problem.output(), &scales = *problem.output(1);
  if (!is_float(x.dtype) || bytes.dtype != DType::kInt8 || scales.dtype != DType::kFloat32) return "dtype";
  for (const Value* value : {&x, &bytes, &scales}) {
    if (value->layout != Layout::kPlain) return "layout";
  }
  return x.rank() < 1 ? Refusal("rank") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value &x = *node.inputs[0], &bytes = *node.outputs[0];
  const int rank = x.rank();
  const int64_t length = known_elements(*x.dims, rank - 1, rank);
  Defines defines;
  define_rows(row_form(length, {{&x, length}, {&bytes, length}}, true, known_elements(*x.dims, 0, rank - 1)), node,
              defines);
  defines.set("INPUT_TYPE", memory_type(x.dtype));
  define_row_bytes(defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "row_bytes.cuh", "quantize_rows.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t rows, length;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  State& state = prepare.state_as<State>();
  state.length = shape[shape.rank() - 1];
  state.rows = shape.elements(0, shape.rank() - 1);
  state.launch = HUSSAR_TRY(prepare_rows(prepare, "quantize_rows", state.rows, state.length, {state.length}));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  words.put(state.rows);
  words.put(state.length);
  words.put(run.inputs[0].data);
  for (const Operand& output : run.outputs) words.put(output.data);
  words.put(run.row_count.of(state.rows));
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_quantize_rows_kernel = {.name = "cuda_quantize_rows",
                                                 .place = Place::kDevice,
                                                 .state_bytes = sizeof(State),
                                                 .prepare = prepare,
                                                 .run = run};
extern const Tactic cuda_quantize_rows_tactic = {.kernel = "cuda_quantize_rows",
                                                 .place = Place::kDevice,
                                                 .supports = supports,
                                                 .cost = cost,
                                                 .pack = pack,
                                                 .unpack = unpack};

}  // namespace hussar
