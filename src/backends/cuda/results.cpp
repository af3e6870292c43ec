// Bytes as attributes of steps describe them.
#include "backends/cuda/results.h"

#include <fmt/format.h>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"

namespace hussar::cuda {

std::string number_type(DType dtype) { return dtype == kFp8 ? "float8" : memory_type(dtype); }

Refusal refuse_fp8(const Problem& problem) {
  // An emulated GPU has none.
  if (problem.target.sm >= kFp8Cores || problem.target.sm == 0) return std::nullopt;
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && value->dtype == kFp8) return "needs FP8 (sm_89)";
    }
  }
  return std::nullopt;
}

std::string result_type(const Node& node) {
  return node.attributes.has("y_scale") ? "quantized" : number_type(node.outputs[0]->dtype);
}

void define_results(const Node& node, bool lower_products, Defines& defines) {
  const bool writes_bytes = node.attributes.has("y_scale");
  const bool is_short = is_half(node.outputs[0]->dtype) || writes_bytes;
  const bool is_fp8 = node.outputs[0]->dtype == kFp8;
  defines.set("HALF_RESULTS", is_short).set("FAST_GELU", is_short || lower_products);
  // Small numbers of FP8 are as exact as large ones.
  defines.set("BYTE_RESULTS", writes_bytes && !is_fp8);
  defines.set("WRITES_BYTES", writes_bytes).set("BYTE_FLOAT8", is_fp8);
}

ScaledBytes scaled_bytes(const Attributes& attributes, std::string_view what) {
  return {attributes.get_float(std::string(what) + "_scale", 1),
          static_cast<float>(attributes.get_int(std::string(what) + "_zero_point", 0))};
}

ByteMeaning byte_meaning(const Attributes& attributes) {
  constexpr float kIntegers = 12582912;  // 1.5 * 2^23: the last bits of floats around it are an integer
  const auto [scale, zero_point] = scaled_bytes(attributes, "y");
  return {1 / scale, kIntegers + zero_point};
}

void ByteMeaning::put(Words& words) const { words.put_floats(reciprocal, shift); }

SumBytes sum_bytes(const Attributes& attributes, DType dtype) {
  const auto [scale, zero_point] = scaled_bytes(attributes, "y");
  if (dtype == kFp8) return {1 / scale, 0};
  return {1 / (255 * scale), zero_point / 255};
}

void SumBytes::put(Words& words) const { words.put_floats(reciprocal, shift); }

std::string real_source(const Attributes& attributes, std::string_view what, std::string_view byte) {
  const auto [scale, zero_point] = scaled_bytes(attributes, what);
  return fmt::format("({} - {}) * {}", byte, literal(zero_point), literal(scale));
}

}  // namespace hussar::cuda
