// Following copies and conversions from value to value.
#include "compile/plan_tensors.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

#include "passes/pass.h"
#include "runtime/graph_run.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// "x" of "x_bytes" and "x_bytes~1"; "" of other names. As the passes name what is written as bytes.
std::string real_name(const std::string& name) {
  const size_t at = name.rfind("_bytes");
  if (at == std::string::npos || at == 0) return "";
  std::string_view rest = std::string_view(name).substr(at + 6);
  const bool is_numbered = rest.size() > 1 && rest[0] == '~' && std::all_of(rest.begin() + 1, rest.end(), [](char c) {
                             return std::isdigit(static_cast<unsigned char>(c)) != 0;
                           });
  return rest.empty() || is_numbered ? name.substr(0, at) : "";
}

// The elements of a constant; none when the value is something else.
std::vector<float> constant_numbers(const Plan& plan, int32_t index) {
  if (index < 0) return {};
  const PlanValue& value = plan.graph.values[static_cast<size_t>(index)];
  if (value.storage != Storage::kConstant || !value.dims) return {};
  int64_t count = 1;
  for (const Dim& dim : *value.dims) count *= dim.is_constant() ? dim.value() : 0;
  auto* bytes = const_cast<std::byte*>(plan.constants.data() + value.constant_offset);
  std::vector<float> numbers(static_cast<size_t>(count));
  load_elements<float>(Tensor::view(value.dtype, Shape{count}, bytes), 0, count, numbers.data());
  return numbers;
}

int32_t input_of(const PlanStep& step, size_t index) { return index < step.inputs.size() ? step.inputs[index] : -1; }

// What the bytes that the step writes stand for; false: it is not known.
bool take_conversion(const Plan& plan, const PlanStep& step, DType dtype, PlanTensor& tensor) {
  if (step.op == "QuantizeLinear") {
    const std::vector<float> scales = constant_numbers(plan, step.inputs[1]);
    const std::vector<float> zeros = constant_numbers(plan, input_of(step, 2));
    // Several: passes/quantize_products.cpp divides the channels of rows.
    const bool is_divided = scales.size() > 1;
    if (scales.empty() || (is_divided && step.attributes.get_int("axis", 1) != -1)) return false;
    const int32_t zero = zeros.empty() ? 0 : static_cast<int32_t>(zeros[0]);
    tensor.params = QuantParams{is_divided ? 1 : scales[0], zero, dtype};
    if (is_divided) tensor.divisors = scales;
    tensor.are_of_rows = is_divided;
    return true;
  }
  if (!step.attributes.has("y_scale")) return false;
  tensor.params = QuantParams{step.attributes.get_float("y_scale", 1),
                              static_cast<int32_t>(step.attributes.get_int("y_zero_point", 0)), dtype};
  if (step.op != "hussar.NormToBytes") return true;
  tensor.divisors = constant_numbers(plan, input_of(step, 3));
  for (float& divisor : tensor.divisors) divisor = 1 / divisor;
  tensor.are_of_rows = true;
  return true;
}

// What smooth_products divides the step's output by: its factor stands where the program had p0, or 1. Empty: nothing.
std::vector<float> divisors_of(const Plan& plan, const PlanStep& step) {
  if (!step.program) return {};
  for (int i = step.program->step_count; i-- > 0;) {
    const ProgramStep& entry = step.program->steps[i];
    if (entry.op != ProgramOp::kMul || entry.source != ProgramSource::kOperand) continue;
    const int32_t index = step.inputs[static_cast<size_t>(step.program_inputs + entry.b)];
    const PlanValue& value = plan.graph.values[static_cast<size_t>(index)];
    const bool is_factor = value.dtype == DType::kFloat32 && value.name.find("_factors") != std::string::npos;
    if (!is_factor || entry.p0 == 0) return {};
    std::vector<float> divisors = constant_numbers(plan, index);
    for (float& divisor : divisors) divisor = entry.p0 / divisor;
    return divisors;
  }
  return {};
}

// "x" of "x_smoothed"; "" of other names.
std::string undivided_name(const std::string& name) {
  const std::string_view before = Quantization::name_before(name);
  return before.size() == name.size() ? "" : std::string(before);
}

// Its output holds elements of its first input, which mean what they did.
bool keeps_meaning(const PlanStep& step) {
  static constexpr std::string_view kMovers[] = {
      "Concat",  "Split", "MaxPool", "Resize", "Reshape", "Transpose", "Squeeze",      "Unsqueeze",
      "Flatten", "Slice", "Gather",  "Expand", "Tile",    "Identity",  "DepthToSpace", "SpaceToDepth"};
  return std::find(std::begin(kMovers), std::end(kMovers), step.op) != std::end(kMovers);
}

void append(std::vector<std::string>& names, const std::vector<std::string>& more) {
  for (const std::string& name : more) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
}

}  // namespace

std::vector<PlanTensor> plan_tensors(const Plan& plan) {
  const PlanGraph& graph = plan.graph;
  std::vector<PlanTensor> tensors(graph.values.size());
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].names = {graph.values[i].name};
  auto is_copy = [](const PlanStep& step) { return step.op == "hussar.Reformat" || step.op == "QuantizeLinear"; };
  for (const PlanStep& step : graph.steps) {
    const int32_t output = step.outputs.empty() ? -1 : step.outputs[0];
    if (output < 0) continue;
    PlanTensor& tensor = tensors[static_cast<size_t>(output)];
    const DType dtype = graph.values[static_cast<size_t>(output)].dtype;
    if (is_quantized(dtype)) {
      const std::string name = real_name(tensor.names[0]);
      if (take_conversion(plan, step, dtype, tensor) && !name.empty()) tensor.names.push_back(name);
    }
    const std::string undivided = undivided_name(tensor.names.back());
    if (!undivided.empty()) {
      const PlanValue& value = graph.values[static_cast<size_t>(output)];
      std::vector<float> divisors = divisors_of(plan, step);
      const bool are_of_rows = value.layout == Layout::kPlain;
      const bool fits = value.dims && value.dims->size() >= 2 && !divisors.empty() &&
                        (are_of_rows ? value.dims->back() : (*value.dims)[1]).is(std::ssize(divisors));
      if (fits) {
        tensor.divisors = std::move(divisors);
        tensor.are_of_rows = are_of_rows;
        tensor.names.push_back(undivided);
      }
    }
    if (step.inputs.empty() || step.inputs[0] < 0) continue;
    if (keeps_meaning(step)) {
      for (int32_t moved : step.outputs) {
        if (moved >= 0 && is_quantized(graph.values[static_cast<size_t>(moved)].dtype))
          tensors[static_cast<size_t>(moved)].params = tensors[static_cast<size_t>(step.inputs[0])].params;
      }
    }
    if (!is_copy(step)) continue;
    const PlanTensor& source = tensors[static_cast<size_t>(step.inputs[0])];
    append(tensor.names, source.names);
    if (tensor.divisors.empty()) {
      tensor.divisors = source.divisors;
      tensor.are_of_rows = source.are_of_rows;
    }
    if (step.op == "hussar.Reformat") tensor.params = source.params;
  }
  // The public name of an output is that of the copy in rows.
  for (auto step = graph.steps.rbegin(); step != graph.steps.rend(); ++step) {
    if (step->op != "hussar.Reformat" || step->inputs[0] < 0 || step->outputs[0] < 0) continue;
    append(tensors[static_cast<size_t>(step->inputs[0])].names, tensors[static_cast<size_t>(step->outputs[0])].names);
  }
  // Names that passes made up have a '~', as a rule; those of the model are better to show.
  for (PlanTensor& tensor : tensors) {
    std::stable_partition(tensor.names.begin(), tensor.names.end(),
                          [](const std::string& name) { return name.find('~') == std::string::npos; });
  }
  return tensors;
}

// The divisor of element i of a plain tensor of this shape.
static float divisor_at(const PlanTensor& meaning, const Shape& shape, int64_t i) {
  if (meaning.divisors.empty()) return 1;
  if (meaning.are_of_rows) return meaning.divisors[static_cast<size_t>(i) % meaning.divisors.size()];
  const int64_t plane = shape.elements(2, shape.rank());
  return meaning.divisors[static_cast<size_t>(i / plane % shape[1])];
}

Tensor real_numbers(const Operand& operand, const PlanTensor& meaning) {
  Tensor plain = to_plain(operand);
  if (!meaning.params && meaning.divisors.empty()) return plain;
  Tensor numbers(DType::kFloat32, operand.shape);
  float* to = numbers.data<float>();
  load_elements<float>(plain, 0, plain.elements(), to);
  for (int64_t i = 0; i < plain.elements(); ++i) {
    if (meaning.params) to[i] = (to[i] - static_cast<float>(meaning.params->zero_point)) * meaning.params->scale;
    to[i] *= divisor_at(meaning, operand.shape, i);
  }
  return numbers;
}

void store_real_numbers(const Tensor& numbers, const PlanTensor& meaning, const Operand& operand) {
  const int64_t count = numbers.elements();
  Tensor plain(operand.dtype, operand.shape);
  std::vector<float> values(static_cast<size_t>(count));
  if (count == 0) return;
  load_elements<float>(numbers, 0, count, values.data());
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] /= divisor_at(meaning, operand.shape, i);
  if (meaning.params && meaning.params->dtype == kFp8) {
    for (float& value : values) value /= meaning.params->scale;
    store_elements<float>(plain, 0, count, values.data());
  } else if (meaning.params) {
    const QuantParams& params = *meaning.params;
    for (int64_t i = 0; i < count; ++i) {
      const float rounded = std::nearbyint(values[static_cast<size_t>(i)] / params.scale);
      const float q = rounded + static_cast<float>(params.zero_point);
      plain.data<uint8_t>()[i] = std::isnan(q) ? 0 : static_cast<uint8_t>(std::clamp(q, 0.0F, 255.0F));
    }
  } else {
    store_elements<float>(plain, 0, count, values.data());
  }
  const size_t size = dtype_size(operand.dtype);
  if (operand.layout == Layout::kPlain) {
    std::memcpy(operand.data, plain.raw(), plain.bytes());
    return;
  }
  const int64_t batch = operand.shape[0], channels = operand.shape[1];
  const int64_t pixels = operand.shape.elements(2, operand.shape.rank());
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < pixels; ++p) {
        std::memcpy(operand.data + static_cast<size_t>((n * pixels + p) * operand.pitch + c) * size,
                    plain.raw() + static_cast<size_t>((n * channels + c) * pixels + p) * size, size);
      }
    }
  }
}

}  // namespace hussar
