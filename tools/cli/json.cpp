// Writing JSON (RFC 8259).
#include "tools/cli/json.h"

#include <fmt/format.h>

#include <cmath>

namespace hussar::cli {
namespace {

// The length of the valid UTF-8 sequence at `at`, or 0.
size_t sequence_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(at);
  if (first < 0x80) return 1;
  size_t length = first >= 0xc2 && first < 0xe0   ? 2
                  : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf5 ? 4
                                                  : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  unsigned char second = byte(at + 1);
  bool bad = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
             (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return bad ? 0 : length;
}

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t length = sequence_length(text, i);
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", text[i]);
    else if (c == '\n')
      out += "\\n";
    else if (c < 0x20)
      out += fmt::format("\\u{:04x}", c);
    else if (length == 0)
      out += "\xef\xbf\xbd";
    else
      out += text.substr(i, length);
    i += std::max<size_t>(length, 1);
  }
  out += '"';
}

}  // namespace

Json& Json::set(std::string_view key, Json value) {
  std::get<Fields>(value_).emplace_back(std::string(key), std::move(value));
  return *this;
}

Json& Json::append_fields(Json object) {
  for (auto& [key, value] : std::get<Fields>(object.value_)) set(key, std::move(value));
  return *this;
}

Json& Json::push(Json value) {
  std::get<Items>(value_).push_back(std::move(value));
  return *this;
}

std::string Json::dump() const {
  std::string out;
  write(out, 0);
  return out;
}

void Json::write(std::string& out, int depth) const {
  auto line = [&](int at) { out += "\n" + std::string(static_cast<size_t>(at), ' '); };
  if (const auto* flag = std::get_if<bool>(&value_)) {
    out += *flag ? "true" : "false";
  } else if (const auto* integer = std::get_if<int64_t>(&value_)) {
    out += std::to_string(*integer);
  } else if (const auto* real = std::get_if<double>(&value_)) {
    out += std::isfinite(*real) ? fmt::format("{}", *real) : "null";
  } else if (const auto* text = std::get_if<std::string>(&value_)) {
    write_string(out, *text);
  } else if (const auto* items = std::get_if<Items>(&value_)) {
    out += "[";
    for (const Json& item : *items) {
      if (&item != items->data()) out += ",";
      line(depth + 1);
      item.write(out, depth + 1);
    }
    if (!items->empty()) line(depth);
    out += "]";
  } else if (const auto* fields = std::get_if<Fields>(&value_)) {
    out += "{";
    for (const auto& field : *fields) {
      if (&field != fields->data()) out += ",";
      line(depth + 1);
      write_string(out, field.first);
      out += ": ";
      field.second.write(out, depth + 1);
    }
    if (!fields->empty()) line(depth);
    out += "}";
  } else {
    out += "null";
  }
}

}  // namespace hussar::cli
