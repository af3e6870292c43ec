// Parsing and writing of shapes.
#include "plan/shapes.h"

#include <cctype>
#include <charconv>
#include <optional>

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

}  // namespace hussar
