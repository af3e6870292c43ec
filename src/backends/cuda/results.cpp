// Bytes as attributes of steps describe them.
#include "backends/cuda/results.h"

#include <fmt/format.h>

#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/program_source.h"

namespace hussar::cuda {
namespace {

struct Meaning {
  float scale, zero_point;
};
Meaning meaning_of(const Attributes& attributes, std::string_view what) {
  return {attributes.get_float(std::string(what) + "_scale", 1),
          static_cast<float>(attributes.get_int(std::string(what) + "_zero_point", 0))};
}

}  // namespace

std::string result_type(const Node& node) {
  return node.attributes.has("y_scale") ? "quantized" : memory_type(node.outputs[0]->dtype);
}

void define_results(const Node& node, bool lower_products, Defines& defines) {
  const bool writes_bytes = node.attributes.has("y_scale");
  const bool is_short = node.outputs[0]->dtype == DType::kFloat16 || writes_bytes;
  defines.set("HALF_RESULTS", is_short).set("FAST_GELU", is_short || lower_products).set("BYTE_RESULTS", writes_bytes);
  if (!writes_bytes) return;
  const auto [scale, zero_point] = meaning_of(node.attributes, "y");
  defines.set("BYTE_RECIPROCAL", literal(1 / scale)).set("BYTE_ZERO_POINT", literal(zero_point));
  defines.set("BYTE_LOWEST", literal(-zero_point * scale)).set("BYTE_HIGHEST", literal((255 - zero_point) * scale));
}

std::string real_source(const Attributes& attributes, std::string_view what, std::string_view byte) {
  const auto [scale, zero_point] = meaning_of(attributes, what);
  return fmt::format("({} - {}) * {}", byte, literal(zero_point), literal(scale));
}

}  // namespace hussar::cuda
