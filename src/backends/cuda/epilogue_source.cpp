// Operands of epilogues: how each lies over the output, and how N of its elements are loaded.
#include "backends/cuda/epilogue_source.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"
#include "tensor/broadcast.h"

namespace hussar::cuda {
namespace {

// Of operands of the program: floats, or bytes of a known meaning.
bool is_number(const Attributes& attributes, DType dtype) {
  return is_float(dtype) || (is_quantized(dtype) && attributes.has("operand_scale"));
}

Cover cover_in(const Node& node, const Value& operand) {
  const Value& output = *node.outputs[0];
  return fitting_cover<Dim>(*output.dims, output.layout, *operand.dims, operand.layout);
}

// Whether eight neighbours of every row begin at a multiple of eight elements.
bool is_aligned(const Value& value) {
  return row_pitch_of(operand_of(value)) % 8 == 0 && offset_in_holder(value) % 8 == 0;
}

// Elements from row to row, a number where it is one: rows that a thread has in hand then differ by constants.
std::string pitch_source(const Value& value, int index) {
  const Value* holder = &value;
  while (holder->slice_of != nullptr) holder = holder->slice_of;
  const Dims& dims = *holder->dims;
  const bool is_known =
      dims.empty() || (value.layout == Layout::kChannelsLast ? dims[1].is_constant() : dims.back().is_constant());
  return is_known ? fmt::format("{}LL", row_pitch_of(operand_of(value))) : fmt::format("operands.pitch{}", index);
}

std::string_view loader_of(const Value& value) { return value.is_constant() ? "load_constant" : "load"; }

std::string load_source(const Node& node, size_t input, int index, bool is_near) {
  if (is_near) return fmt::format("near.load(operands.data{0}, row, column, inputs.o{0});", index);
  const Value& value = *node.inputs[input];
  const std::string data = fmt::format("operands.data{}", index);
  const std::string to = fmt::format("inputs.o{}", index);
  switch (cover_in(node, value)) {
    case Cover::kScalar: return fmt::format("broadcast({}, {});", data, to);
    case Cover::kRow: return fmt::format("broadcast({} + row, {});", data, to);
    case Cover::kColumn: return fmt::format("{}({} + column, {});", loader_of(value), data, to);
    default: break;
  }
  return fmt::format("{}({} + row * {} + column, {});", is_aligned(value) ? "load" : "load_each", data,
                     pitch_source(value, index), to);
}

// An operand of the program, as numbers.
std::string operand_source(const Node& node, size_t input, int index) {
  const DType dtype = node.inputs[input]->dtype;
  if (!is_quantized(dtype)) return fmt::format("inputs.o{}[i]", index);
  return fmt::format("(inputs.o{}[i]{}) * operands.scale", index,
                     dtype == DType::kUInt8 ? " - operands.zero_point" : "");
}

// How an operand of the program lies in memory. Bytes are read as kByteShift more, and so is the zero point that they
// are given.
std::string operand_type(DType dtype) { return dtype == DType::kUInt8 ? "shifted_byte" : number_type(dtype); }

size_t inputs_before_program(const Node& node) {
  return node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
}

// The inputs behind the factors of the product, or of both: a bias, or the table of byte_product.h, which has it.
// `has`: whether there is such an input.
template <class Has>
std::vector<size_t> own_operands(std::string_view op, Has has) {
  std::vector<size_t> list;
  if (op == kIntegerMatMul) return list;
  if (has(2)) list.push_back(2);
  if (is_conv_sum(op) && has(inputs_of_part(op) + 2)) list.push_back(inputs_of_part(op) + 2);
  return list;
}
std::vector<size_t> own_operands(const Node& node) {
  const size_t own = inputs_before_program(node);
  return own_operands(node.op, [&](size_t i) { return i < own && node.inputs[i] != nullptr; });
}

RunScales run_scales_of(const Node& node) {
  return cuda::run_scales(node.op, node.inputs[0]->dtype, inputs_before_program(node));
}

// RowMeaning: what a row's sums are multiplied by, where only the run tells, and the zero point of x.
std::string row_source(const Node& node) {
  const RunScales kind = run_scales_of(node);
  const bool of_rows = kind == RunScales::kRows;
  std::string members, values;
  if (kind != RunScales::kNone) {
    members = of_rows ? "float factor;" : "float factor; int zero;";
    values = of_rows ? "operands.data1[row]" : "*operands.data1, static_cast<int>(*operands.data2)";
  }
  return fmt::format(
      "struct RowMeaning {{{}}};\n__device__ __forceinline__ RowMeaning row_meaning(const EpilogueOperands& operands, "
      "long long row) {{\n  return {{{}}};\n}}\n",
      members, values);
}

// What two sets of sums of bytes stand for: the first table has what both add. There are no registers for tables that
// are loaded ahead (load_constant).
std::string two_sums_source(const Node& node) {
  return fmt::format(
      "template <int N>\nstruct SumMeaning {{\n  float factor[N], second[N], shift[N];\n}};\n"
      "template <int N>\n__device__ __forceinline__ void load_meaning(SumMeaning<N>& meaning, const EpilogueOperands& "
      "operands, int column) {{\n  load(operands.data0 + column, meaning.factor);\n  load(operands.data0 + {0} + "
      "column, meaning.shift);\n  load(operands.data1 + column, meaning.second);\n}}\n"
      "template <int N, class Sum>\n__device__ __forceinline__ void real_sums(const Sum (&sum)[2 * N], float "
      "(&value)[N], const SumMeaning<N>& meaning, const RowMeaning&) {{\n#pragma unroll\n  for (int i = 0; i < N; ++i) "
      "value[i] = fmaf(static_cast<float>(sum[i]), meaning.factor[i], fmaf(static_cast<float>(sum[N + i]), "
      "meaning.second[i], meaning.shift[i]));\n}}\n",
      node.inputs[2]->constant->shape()[1]);
}

// SumMeaning and RowMeaning, and what they make of sums. `biases`: operands that are biases, of one or two products.
std::string sums_source(const Node& node, size_t biases) {
  if (node.op == kQuantizedConvSum) return two_sums_source(node);
  const bool of_bytes = is_byte_product(node.op);
  std::string members = "  float bias[N];\n", loads, value = "sum[i]";
  if (of_bytes) {
    members = "  float factor[N], shift[N];\n";
    const RunScales kind = run_scales_of(node);
    const bool of_tensor = kind == RunScales::kTensor;
    // Of a zero point of the run the first row has what it is multiplied by, and the last one the factors.
    constexpr const char* kLoad = "load_constant(operands.data0 + {} + column, meaning.{}); ";
    const int64_t columns = node.inputs[2]->constant->shape()[1];
    loads = fmt::format(kLoad, columns, "shift") + fmt::format(kLoad, of_tensor ? 2 * columns : 0, "factor");
    if (of_tensor) {
      members += "  int taken[N];\n";
      loads += "load_constant(reinterpret_cast<const int*>(operands.data0) + column, meaning.taken);";
    }
    value = fmt::format("fmaf(static_cast<float>({}), {}meaning.factor[i], meaning.shift[i])",
                        of_tensor ? "sum[i] - of_row.zero * meaning.taken[i]" : "sum[i]",
                        kind == RunScales::kNone ? "" : "of_row.factor * ");
  } else if (node.op == kIntegerMatMul) {
    value = "static_cast<float>(sum[i])";
  } else if (biases > 0) {
    loads = fmt::format("{}(operands.data0 + column, meaning.bias);", loader_of(*node.inputs[own_operands(node)[0]]));
    value = "sum[i] + meaning.bias[i]";
    if (biases > 1)
      loads +=
          "\n  float more[N];\n  load(operands.data1 + column, more);\n#pragma unroll\n  for (int i = 0; i < N; ++i) "
          "meaning.bias[i] += more[i];";
  }
  return fmt::format(
      "template <int N>\nstruct SumMeaning {{\n{0}}};\n"
      "template <int N>\n__device__ __forceinline__ void load_meaning(SumMeaning<N>& meaning, const EpilogueOperands& "
      "operands, int column) {{\n  {1}\n}}\n"
      "template <int N, class Sum>\n__device__ __forceinline__ void real_sums(const Sum (&sum)[N], float (&value)[N], "
      "const SumMeaning<N>& meaning, const RowMeaning& of_row) {{\n#pragma unroll\n  for (int i = 0; i < N; ++i) "
      "value[i] = {2};\n}}\n",
      members, loads, value);
}

// The program as code does it. Bytes whose zero point is 0 end at 0 anyway: a last relu before them is left out.
std::optional<Program> program_in_code(const Node& node) {
  std::optional<Program> program = node.program;
  const bool ends_at_zero = node.attributes.has("y_scale") && node.attributes.get_int("y_zero_point", 0) == 0 &&
                            node.outputs[0]->dtype == DType::kUInt8;
  if (!program || !ends_at_zero) return program;
  const ProgramStep& last = program->steps[program->step_count - 1];
  const int before = program->step_count > 1 ? program->steps[program->step_count - 2].dst : 0;
  if (last.op != ProgramOp::kRelu || last.a != before) return program;
  if (--program->step_count == 0) return std::nullopt;
  return program;
}

}  // namespace

int64_t row_pitch_of(const Operand& operand) {
  const int rank = operand.shape.rank();
  if (operand.layout == Layout::kChannelsLast) return operand.pitch;
  return rank == 0 ? 1 : operand.shape[rank - 1];
}

Refusal check_epilogue(const Problem& problem) {
  const Node& node = problem.node;
  if (!node.program) return std::nullopt;
  for (size_t i = problem.own_inputs(); i < node.inputs.size(); ++i) {
    const Value* operand = node.inputs[i];
    if (operand == nullptr || !is_number(node.attributes, operand->dtype)) return "fused operand";
    if (cover_in(node, *operand) == Cover::kOther) return "fused operand in another layout, or of general broadcasting";
  }
  return std::nullopt;
}

size_t near_operand(const Node& node) {
  if (!node.program) return 0;
  for (size_t i = inputs_before_program(node); i < node.inputs.size(); ++i) {
    const Value& value = *node.inputs[i];
    const int64_t bytes = static_cast<int64_t>(dtype_size(value.dtype));
    const bool is_short = is_half(value.dtype) || is_quantized(value.dtype);
    const bool is_matrix = cover_in(node, value) == Cover::kFull;
    if (is_short && is_matrix && row_pitch_of(operand_of(value)) * bytes % 16 == 0 &&
        offset_in_holder(value) * bytes % 16 == 0)
      return i;
  }
  return 0;
}

std::string epilogue_source(const Node& node, size_t near) {
  std::vector<size_t> inputs = own_operands(node);
  const size_t biases = inputs.size();
  const RunScales of_run = run_scales_of(node);
  if (of_run != RunScales::kNone) inputs.push_back(kScaleInput);
  if (of_run == RunScales::kTensor) inputs.push_back(kZeroPointInput);
  const size_t own = inputs.size();
  for (size_t i = inputs_before_program(node); i < node.inputs.size(); ++i) inputs.push_back(i);
  std::string members, numbers, loads, arguments;
  bool reads_bytes = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DType dtype = node.inputs[inputs[i]]->dtype;
    members += fmt::format("  const {}* data{};\n  long long pitch{};\n",
                           i < own ? number_type(dtype) : operand_type(dtype), i, i);
    if (i < own) continue;
    reads_bytes = reads_bytes || is_quantized(node.inputs[inputs[i]]->dtype);
    const int index = static_cast<int>(i);
    numbers += fmt::format(" float o{}[N];", index);
    loads += fmt::format("  {}\n", load_source(node, inputs[i], index, inputs[i] == near));
    arguments += ", " + operand_source(node, inputs[i], index);
  }
  if (inputs.empty()) members = "  long long nothing;\n";
  const bool writes_bytes = node.attributes.has("y_scale");
  if (writes_bytes) members += "  SumBytes meaning;\n";
  if (reads_bytes) members += "  float scale, zero_point;\n";
  const std::optional<Program> program = program_in_code(node);
  std::string text = program ? program_source(*program) : std::string();
  text += fmt::format("struct EpilogueOperands {{\n{}}};\n", members) + row_source(node) + sums_source(node, biases);
  text += fmt::format(
      "template <int N>\nstruct EpilogueInputs {{{}}};\n"
      "template <int N, class Near>\n__device__ __forceinline__ void load_inputs(EpilogueInputs<N>& inputs, const "
      "EpilogueOperands& operands, long long row, int column, const Near& near) {{\n{}}}\n"
      "template <int N>\n__device__ __forceinline__ void epilogue_of(float (&value)[N], const EpilogueInputs<N>& "
      "inputs, const EpilogueOperands& operands) {{\n",
      numbers, loads);
  if (program)
    text +=
        fmt::format("#pragma unroll\n  for (int i = 0; i < N; ++i) value[i] = run_program(value[i]{});\n", arguments);
  return text + fmt::format(
                    "}}\ntemplate <int N, class T>\n__device__ __forceinline__ void store_finished(T* to, const float "
                    "(&value)[N], const EpilogueOperands& operands) {{\n  {};\n}}\n",
                    writes_bytes ? "store_results(to, value, operands.meaning)" : "store(to, value)");
}

Status EpilogueState::put_run_scales(const Prepare& prepare, size_t own) {
  const RunScales kind = run_scales(prepare.step.op, prepare.inputs[0].dtype, own);
  if (kind == RunScales::kNone) return {};
  const bool of_rows = kind == RunScales::kRows;
  const Shape& x = prepare.inputs[0].shape;
  const size_t last = of_rows ? kScaleInput : kZeroPointInput;
  bool fits = own == last + 1;
  for (size_t i = kScaleInput; fits && i <= last; ++i) {
    const Operand& given = prepare.inputs[i];
    fits = given.present() && given.dtype == (i == kScaleInput ? DType::kFloat32 : DType::kUInt8) &&
           given.shape.elements() == (of_rows ? x.elements(0, x.rank() - 1) : 1);
    operands_[count_++] = {static_cast<int32_t>(i), 0};
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed scales of its input", prepare.step.name);
  return {};
}

Status EpilogueState::prepare(const Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const Operand& output = prepare.outputs[0];
  count_ = 0;
  reads_bytes_ = false;
  writes_bytes_ = step.attributes.has("y_scale");
  of_results_ = sum_bytes(step.attributes, prepare.outputs[0].dtype);
  of_operands_ = scaled_bytes(step.attributes, "operand");
  const auto own = static_cast<int32_t>(step.program ? step.program_inputs : std::ssize(step.inputs));
  const std::vector<size_t> list =
      own_operands(step.op, [&](size_t i) { return std::cmp_less(i, own) && prepare.inputs[i].present(); });
  for (size_t input : list) operands_[count_++] = {static_cast<int32_t>(input), 0};
  HUSSAR_TRY(put_run_scales(prepare, static_cast<size_t>(own)));
  if (is_byte_product(step.op)) {
    const int64_t columns = output.shape[output.layout == Layout::kChannelsLast ? 1 : output.shape.rank() - 1];
    const bool fits =
        std::all_of(list.begin(), list.end(), [&](size_t input) { return is_table(prepare.inputs[input], columns); });
    HUSSAR_CHECK(fits && list.size() == (is_conv_sum(step.op) ? 2 : 1), ErrorCode::kPlanIncompatible,
                 "step '{}': malformed scales", step.name);
  }
  if (!step.program) return {};
  constexpr float kByteShift = 8388608;  // of device/numbers.cuh
  bool reads_shifted = false;
  for (int i = 0; i < step.program->operand_count; ++i) {
    const int32_t input = step.program_inputs + i;
    const Operand& operand = prepare.inputs[static_cast<size_t>(input)];
    const Cover cover =
        fitting_cover<int64_t>(output.shape.dims(), output.layout, operand.shape.dims(), operand.layout);
    HUSSAR_CHECK(cover != Cover::kOther && is_number(step.attributes, operand.dtype), ErrorCode::kUsage,
                 "step '{}': fused operand {} of shape {} does not fit the output {}", step.name, i,
                 operand.shape.to_string(), output.shape.to_string());
    reads_bytes_ = reads_bytes_ || is_quantized(operand.dtype);
    reads_shifted = reads_shifted || operand.dtype == DType::kUInt8;
    operands_[count_++] = {input, row_pitch_of(operand)};
  }
  if (reads_shifted) of_operands_.zero_point += kByteShift;
  return {};
}

void EpilogueState::put(const Run& run, Words& words) const {
  for (int i = 0; i < count_; ++i) {
    words.put(run.inputs[static_cast<size_t>(operands_[i].input)].data);
    words.put(operands_[i].pitch);
  }
  if (count_ == 0) words.put(int64_t{0});
  if (writes_bytes_) of_results_.put(words);
  if (reads_bytes_) words.put_floats(of_operands_.scale, of_operands_.zero_point);
}

int64_t EpilogueState::pitch_of(int32_t input) const {
  for (int i = 0; i < count_; ++i) {
    if (operands_[i].input == input) return operands_[i].pitch;
  }
  return 0;
}

}  // namespace hussar::cuda
