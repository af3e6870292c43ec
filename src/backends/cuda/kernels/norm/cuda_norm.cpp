// cuda_norm: LayerNormalization and RMSNormalization over the last axes, hussar.NormToBytes and hussar.NormToRows.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/results.h"
#include "backends/cuda/row_bytes.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kLayer = "LayerNormalization", kToBytes = "hussar.NormToBytes",
                           kToRows = "hussar.NormToRows";

// Threads of a row, as configurations.
struct Group {
  std::string_view name;
  int threads;
};
constexpr Group kGroups[] = {{"warp", 32}, {"four_warps", 128}, {"block", 256}};

// Which output holds the result as numbers.
size_t numbers_of(std::string_view op) { return op == kToRows ? 2 : op == kToBytes ? 1 : 0; }

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kLayer, "RMSNormalization", kToBytes, kToRows})) return refusal;
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  const bool to_bytes = problem.node.op == kToBytes, to_rows = problem.node.op == kToRows;
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (const Value* value : *list) {
      if (value == nullptr) continue;
      const bool are_bytes = (to_bytes || to_rows) && value == problem.output();
      const bool has_type = !are_bytes ? is_float(value->dtype)
                            : to_rows  ? value->dtype == DType::kInt8
                                       : is_quantized(value->dtype);
      if (!has_type) return "dtype";
      if (value->layout != Layout::kPlain) return "layout";
    }
  }
  if (to_rows && problem.output(1)->dtype != DType::kFloat32) return "dtype of scales";
  for (size_t i = 1; i < problem.node.outputs.size() && !to_bytes && !to_rows; ++i) {
    if (problem.output(i) != nullptr && problem.output(i)->dtype != DType::kFloat32) return "dtype of statistics";
  }
  const int rank = problem.input(0)->rank();
  if (rank < 1) return "rank";
  const int axis = axis_from_front(problem.node.attributes.get_int("axis", -1), rank);
  const Dims normalized(problem.input(0)->dims->begin() + axis, problem.input(0)->dims->end());
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (problem.input(i) == nullptr) continue;
    Dims dims = *problem.input(i)->dims;
    while (dims.size() > normalized.size() && dims.front().is(1)) dims.erase(dims.begin());
    if (!(dims == normalized)) return "scale or bias of another shape than the rows";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

// How many elements a row has; 0: it is not known.
int64_t row_length(const Node& node) {
  const Value& x = *node.inputs[0];
  return known_elements(*x.dims, axis_from_front(node.attributes.get_int("axis", -1), x.rank()), x.rank());
}

// For so many threads a row; 0: what is likely best.
RowForm form_of(const Node& node, int group) {
  const Value &x = *node.inputs[0], &scale = *node.inputs[1];
  const Value* numbers = node.output(numbers_of(node.op));
  const int64_t length = row_length(node);
  auto operand = [](const Value* value, const Value& other) { return value != nullptr ? value : &other; };
  const Value* factors = node.op == kToBytes ? node.input(3) : nullptr;
  const int64_t rows = known_elements(*x.dims, 0, axis_from_front(node.attributes.get_int("axis", -1), x.rank()));
  return row_form(length,
                  {{&x, length},
                   {operand(numbers, x), length},
                   {node.outputs[0], length},
                   {&scale, 0},
                   {operand(node.input(2), scale), 0},
                   {operand(factors, scale), 0}},
                  true, rows, group);
}

std::vector<Configuration> configurations(const Problem& problem) {
  constexpr double kOthers = 1.1;
  std::vector<Configuration> list;
  const int usual = form_of(problem.node, 0).group;
  for (const Group& group : kGroups) {
    if (group.threads != usual && row_length(problem.node) >= group.threads &&
        form_of(problem.node, group.threads).hold > 0)
      list.push_back({group.name, kOthers * cost(problem)});
  }
  return list;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const bool to_bytes = node.op == kToBytes, to_rows = node.op == kToRows;
  const Value &x = *node.inputs[0], &scale = *node.inputs[1];
  const Value* numbers = node.output(numbers_of(node.op));
  const Value& y = numbers != nullptr ? *numbers : x;
  const Value& bias = node.input(2) != nullptr ? *node.input(2) : scale;
  const Group* group = configured_tile<Group>(kGroups, node);
  Defines defines;
  define_rows(form_of(node, group != nullptr ? group->threads : 0), node, defines);
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("OUTPUT_TYPE", memory_type(y.dtype));
  defines.set("SCALE_TYPE", memory_type(scale.dtype)).set("BIAS_TYPE", memory_type(bias.dtype));
  defines.set("CENTER", to_bytes || to_rows ? node.attributes.get_int("center", 1) : node.op == kLayer);
  defines.set("ROWS_OF_BYTES", to_rows);
  if (to_bytes) define_results(node, false, defines);
  defines.set("BYTE_FACTORS", to_bytes && node.input(3) != nullptr);
  if (!to_rows) return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "norm.cuh"}));
  define_row_bytes(defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "row_bytes.cuh", "norm.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t rows, length;
  float epsilon;
  ByteMeaning meaning;
  // Which outputs are what; -1: none.
  int8_t numbers, bytes, scales, statistics;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", -1), shape.rank());
  State& state = prepare.state_as<State>();
  state.rows = shape.elements(0, axis);
  state.length = shape.elements(axis, shape.rank());
  const std::string_view op = prepare.step.op;
  state.numbers = static_cast<int8_t>(numbers_of(op));
  state.bytes = static_cast<int8_t>(state.numbers > 0 ? 0 : -1);
  state.scales = static_cast<int8_t>(op == kToRows ? 1 : -1);
  state.statistics = static_cast<int8_t>(state.numbers > 0 ? -1 : 1);
  state.epsilon = prepare.step.attributes.get_float("epsilon", 1e-5F);
  state.meaning = byte_meaning(prepare.step.attributes);
  state.launch = HUSSAR_TRY(prepare_rows(prepare, "normalize", state.rows, state.length, {state.length}));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  auto find = [](std::span<const Operand> list, int i) {
    return i >= 0 && i < std::ssize(list) ? list[static_cast<size_t>(i)].data : nullptr;
  };
  Words words;
  words.put(state.rows);
  words.put(state.length);
  words.put(run.inputs[0].data);
  words.put(find(run.outputs, state.numbers));
  for (int i : {1, 2, 3}) words.put(find(run.inputs, i));
  for (int i : {0, 1}) words.put(state.statistics < 0 ? nullptr : find(run.outputs, state.statistics + i));
  words.put(find(run.outputs, state.bytes));
  words.put(find(run.outputs, state.scales));
  words.put(run.row_count.of(state.rows));
  words.put_float(state.epsilon);
  state.meaning.put(words);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_norm_kernel = {
    .name = "cuda_norm", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_norm_tactic = {.kernel = "cuda_norm",
                                        .place = Place::kDevice,
                                        .supports = supports,
                                        .cost = cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
