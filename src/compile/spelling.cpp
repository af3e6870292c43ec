// Parsing of shapes and targets.
#include "compile/spelling.h"

#include <cctype>
#include <charconv>
#include <optional>

#include "backends/cpu/isa.h"
#include "base/error.h"

namespace hussar {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool is_identifier(std::string_view word) {
  if (word.empty() || word.size() > 64 || std::isdigit(static_cast<unsigned char>(word[0])) != 0) return false;
  for (char c : word) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') return false;
  }
  return true;
}

std::optional<Dim> parse_dimension(std::string_view word) {
  int64_t number = 0;
  auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  bool whole = error == std::errc() && end == word.data() + word.size();
  if (whole && number >= -1) return Dim(number);
  if (is_identifier(word)) return Dim::symbol(word);
  return std::nullopt;
}

}  // namespace

Result<NamedShapes> parse_shapes(std::string_view text) {
  NamedShapes shapes;
  if (text.empty()) return shapes;
  for (std::string_view entry : split(text, ',')) {
    size_t colon = entry.rfind(':');
    HUSSAR_CHECK(colon != std::string_view::npos && colon > 0, ErrorCode::kUsage,
                 "'{}' is not NAME:DIMxDIM...; an example: x:1x3x224x224,y:1x-1", entry);
    std::string name(entry.substr(0, colon));
    std::string_view list = entry.substr(colon + 1);
    Dims dims;
    if (!list.empty()) {
      for (std::string_view word : split(list, 'x')) {
        auto dim = parse_dimension(word);
        HUSSAR_CHECK(dim.has_value(), ErrorCode::kUsage,
                     "'{}' in the shape of '{}' is neither a number >= 0, nor -1, nor a name without the letter x",
                     word, name);
        dims.push_back(*dim);
      }
    }
    HUSSAR_CHECK(dims.size() <= static_cast<size_t>(kMaxRank), ErrorCode::kUsage,
                 "the shape of '{}' has {} dimensions; at most {} are possible", name, dims.size(), kMaxRank);
    HUSSAR_CHECK(shapes.emplace(name, std::move(dims)).second, ErrorCode::kUsage, "'{}' is given two shapes", name);
  }
  return shapes;
}

std::string spell_shapes(const NamedShapes& shapes) {
  std::string text;
  for (const auto& [name, dims] : shapes) {
    text += (text.empty() ? "" : ",") + name + ":";
    for (size_t axis = 0; axis < dims.size(); ++axis) text += (axis == 0 ? "" : "x") + dims[axis].to_string();
  }
  return text;
}

Result<NamedShapes> shapes_of_range(const ShapeRange& range) {
  bool same_inputs = range.minimum.size() == range.optimum.size() && range.maximum.size() == range.optimum.size();
  HUSSAR_CHECK(same_inputs, ErrorCode::kUsage,
               "--min-shapes, --opt-shapes and --max-shapes go together and name the same inputs");
  NamedShapes shapes;
  for (const auto& [name, optimum] : range.optimum) {
    auto low = range.minimum.find(name), high = range.maximum.find(name);
    HUSSAR_CHECK(low != range.minimum.end() && high != range.maximum.end() && low->second.size() == optimum.size() &&
                     high->second.size() == optimum.size(),
                 ErrorCode::kUsage, "the minimum, optimum and maximum shapes of '{}' have different ranks", name);
    Dims& dims = shapes[name];
    for (size_t axis = 0; axis < optimum.size(); ++axis) {
      const Dim& from = low->second[axis];
      const Dim& usual = optimum[axis];
      const Dim& to = high->second[axis];
      bool numbers = from.is_constant() && usual.is_constant() && to.is_constant() && from.value() >= 0;
      HUSSAR_CHECK(numbers && from.value() <= usual.value() && usual.value() <= to.value(), ErrorCode::kUsage,
                   "dimension {} of '{}' has the range {} .. {} .. {}; rising numbers are needed", axis, name,
                   from.to_string(), usual.to_string(), to.to_string());
      dims.push_back(from == to ? usual : Dim(-1));
    }
  }
  return shapes;
}

Result<int> parse_target(std::string_view text) {
  if (text == "cpu") return -1;
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (text == std::string("cpu:") + cpu::isa_name(isa)) return static_cast<int>(isa);
  }
  HUSSAR_CHECK(text.substr(0, 4) != "cuda", ErrorCode::kDeviceUnavailable,
               "target '{}': this build of hussar has no GPU backend; use --target cpu", text);
  return fail(ErrorCode::kUsage,
              "there is no target '{}': cpu, cpu:scalar, cpu:avx2, cpu:avx512, cpu:avx512fp16 or cpu:amx", text);
}

Result<double> parse_duration(std::string_view text) {
  std::string_view number = text;
  const double unit = number.ends_with('m') ? 60 : 1;
  if (number.ends_with('s') || number.ends_with('m')) number.remove_suffix(1);
  double value = 0;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  bool ok = error == std::errc() && end == number.data() + number.size() && value >= 0 && value <= 1e6;
  HUSSAR_CHECK(ok, ErrorCode::kUsage, "'{}' is not a time such as 60s, 2m or 0", text);
  return value * unit;
}

}  // namespace hussar
