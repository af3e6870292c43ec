// cuda_gather_rows: hussar.GatherRows of any dtype.
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.GatherRows"})) return refusal;
  if (!is_movable(problem.dtype(0)) || problem.output()->dtype != problem.dtype(0)) return "dtype";
  if (problem.dtype(1) != DType::kInt32) return "dtype of the index";
  return all_plain(problem.node) ? Refusal() : Refusal("layout");
}

// What is read is as much as what is written.
double cost(const Problem& problem) { return memory_cost(problem); }

// The bytes of a row as far as they are known: those of the last dimensions, each of which is a part of one.
int64_t known_row_bytes(const Node& node) {
  const Dims& x = *node.inputs[0]->dims;
  const Dim& rows = (*node.inputs[1]->dims)[0];
  Dim product(1);
  for (size_t axis = 0; axis < x.size(); ++axis) {
    product = product * x[axis];
    if (product == rows) {
      const int64_t inner = known_elements(x, static_cast<int>(axis) + 1, static_cast<int>(x.size()));
      return inner * static_cast<int64_t>(dtype_size(node.inputs[0]->dtype));
    }
  }
  return 0;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const int64_t row = known_row_bytes(node), size = static_cast<int64_t>(dtype_size(node.inputs[0]->dtype));
  const int64_t word = row > 0 ? word_bytes(row) : size;
  node.attributes.set(kWordAttribute, word);
  Defines defines;
  defines.set("WORD", word_of(word));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "gather_rows.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kWordAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t units, rows, inner;
};

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  State& state = prepare.state_as<State>();
  state.rows = prepare.inputs[1].shape.elements();
  const int64_t elements = x.shape.elements(), rows = std::max<int64_t>(state.rows, 1);
  HUSSAR_CHECK(elements % rows == 0, ErrorCode::kUsage, "step '{}': {} has no {} rows", prepare.step.name,
               x.shape.to_string(), state.rows);
  const int64_t row_bytes = elements / rows * static_cast<int64_t>(dtype_size(x.dtype));
  const int64_t word = HUSSAR_TRY(word_of_step(prepare.step, row_bytes));
  state.inner = row_bytes / word;
  state.units = state.rows * state.inner;
  state.launch = HUSSAR_TRY(launch_for(prepare, "gather_rows", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.units, state.rows, state.inner}) words.put(value);
  for (const std::byte* data : {run.inputs[0].data, run.inputs[1].data, run.outputs[0].data}) words.put(data);
  words.put(run.row_count.of(state.rows));
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_gather_rows_kernel = {
    .name = "cuda_gather_rows", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_gather_rows_tactic = {.kernel = "cuda_gather_rows",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack,
                                               .unpack = unpack};

}  // namespace hussar
