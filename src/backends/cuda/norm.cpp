#include "backends/cuda/norm.h"

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/row_bytes.h"

namespace hussar::cuda {

namespace {

constexpr size_t kScale = 1, kBias = 2, kFactors = 3;

// Threads of a row, as configurations.
struct RowGroup {
  std::string_view name;
  int threads;
};
constexpr RowGroup kRowGroups[] = {{"warp", 32}, {"four_warps", 128}, {"block", 256}};

// 0 threads: as many as are likely best.
RowForm form_of(const Node& node, std::string_view op, const NormRows& rows, int threads) {
  const Value& scale = *node.inputs[kScale];
  auto or_else = [](const Value* value, const Value& other) { return value != nullptr ? value : &other; };
  const Value* factors = op == kNormToBytes ? node.input(kFactors) : nullptr;
  return row_form(rows.length,
                  {{&rows.input, rows.length},
                   {or_else(node.output(norm_numbers_of(op)), rows.input), rows.length},
                   {node.outputs[0], rows.length},
                   {&scale, 0},
                   {or_else(node.input(kBias), scale), 0},
                   {or_else(factors, scale), 0}},
                  true, rows.rows, threads);
}

}  // namespace

size_t norm_numbers_of(std::string_view op) { return op == kNormToRows ? 2 : op == kNormToBytes ? 1 : 0; }

Refusal refuse_norm(const Problem& problem, std::string_view op) {
  if (Refusal refusal = refuse_fp8(problem)) return refusal;
  const bool to_bytes = op == kNormToBytes, to_rows = op == kNormToRows;
  for (size_t i = kScale; i <= kFactors; ++i) {
    const Value* value = problem.input(i);
    if (value != nullptr && !is_float(value->dtype)) return "dtype";
    if (value != nullptr && value->layout != Layout::kPlain) return "layout";
  }
  if (problem.input(kScale) == nullptr) return "no scale";
  for (size_t i = 0; i < problem.node.outputs.size(); ++i) {
    const Value* value = problem.output(i);
    if (value == nullptr) continue;
    const bool are_bytes = i == 0 && (to_bytes || to_rows);
    const bool has_type = !are_bytes ? is_float(value->dtype)
                          : to_rows  ? value->dtype == DType::kInt8
                                     : is_quantized(value->dtype);
    if (!has_type) return "dtype";
    if (value->layout != Layout::kPlain) return "layout";
  }
  if (to_rows && problem.output(1)->dtype != DType::kFloat32) return "dtype of scales";
  for (size_t i = 1; i < problem.node.outputs.size() && !to_bytes && !to_rows; ++i) {
    if (problem.output(i) != nullptr && problem.output(i)->dtype != DType::kFloat32) return "dtype of statistics";
  }
  return std::nullopt;
}

Refusal refuse_norm_shapes(const Problem& problem, const Dims& row) {
  for (size_t i : {kScale, kBias}) {
    if (problem.input(i) == nullptr) continue;
    Dims dims = *problem.input(i)->dims;
    while (dims.size() > row.size() && dims.front().is(1)) dims.erase(dims.begin());
    if (!(dims == row)) return "scale or bias of another shape than the rows";
  }
  return std::nullopt;
}

std::vector<Configuration> norm_configurations(const Problem& problem, std::string_view op, const NormRows& rows,
                                               double cost) {
  constexpr double kOthers = 1.1;
  std::vector<Configuration> list;
  const int usual = form_of(problem.node, op, rows, 0).group;
  for (const RowGroup& group : kRowGroups) {
    if (group.threads == usual || rows.length < group.threads) continue;
    if (form_of(problem.node, op, rows, group.threads).hold > 0) list.push_back({group.name, kOthers * cost});
  }
  return list;
}

Status attach_norm(Packing& packing, std::string_view op, const NormRows& rows, DType x, Defines defines,
                   std::string_view text) {
  Node& node = packing.node;
  const bool to_bytes = op == kNormToBytes, to_rows = op == kNormToRows;
  const Value& scale = *node.inputs[kScale];
  const Value* numbers = node.output(norm_numbers_of(op));
  const Value& bias = node.input(kBias) != nullptr ? *node.input(kBias) : scale;
  const RowGroup* group = configured_tile<RowGroup>(kRowGroups, node);
  define_rows(form_of(node, op, rows, group != nullptr ? group->threads : 0), node, defines);
  defines.set("OUTPUT_TYPE", memory_type(numbers != nullptr ? numbers->dtype : x));
  defines.set("SCALE_TYPE", memory_type(scale.dtype)).set("BIAS_TYPE", memory_type(bias.dtype));
  defines.set("CENTER", to_bytes || to_rows ? node.attributes.get_int("center", 1) : op == kLayerNorm);
  defines.set("ROWS_OF_BYTES", to_rows);
  if (to_bytes) define_results(node, false, defines);
  defines.set("BYTE_FACTORS", to_bytes && node.input(kFactors) != nullptr);
  if (!to_rows) return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "norm_rows.cuh", text}));
  define_row_bytes(defines);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "row_bytes.cuh", "norm_rows.cuh", text}));
}

NormState norm_state(const PlanStep& step, std::string_view op, int64_t rows, int64_t length) {
  NormState state{};
  state.rows = rows;
  state.length = length;
  state.numbers = static_cast<int8_t>(norm_numbers_of(op));
  state.bytes = static_cast<int8_t>(state.numbers > 0 ? 0 : -1);
  state.scales = static_cast<int8_t>(op == kNormToRows ? 1 : -1);
  state.statistics = static_cast<int8_t>(state.numbers > 0 ? -1 : 1);
  state.epsilon = step.attributes.get_float("epsilon", 1e-5F);
  state.meaning = byte_meaning(step.attributes);
  return state;
}

void put_norm(const Run& run, const NormState& state, Words& words) {
  auto find = [](std::span<const Operand> list, int i) {
    return i >= 0 && i < std::ssize(list) ? list[static_cast<size_t>(i)].data : nullptr;
  };
  words.put(state.rows);
  words.put(state.length);
  words.put(find(run.outputs, state.numbers));
  for (size_t i : {kScale, kBias, kFactors}) words.put(find(run.inputs, static_cast<int>(i)));
  for (int i : {0, 1}) words.put(state.statistics < 0 ? nullptr : find(run.outputs, state.statistics + i));
  words.put(find(run.outputs, state.bytes));
  words.put(find(run.outputs, state.scales));
  words.put(run.row_count.of(state.rows));
  words.put_float(state.epsilon);
  state.meaning.put(words);
}

}  // namespace hussar::cuda
