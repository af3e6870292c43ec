// Json: a value to be written. Objects keep the order in which fields were set.
#pragma once
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hussar::cli {

class Json {
 public:
  Json() = default;  // null
  Json(bool value) : value_(value) {}
  Json(std::integral auto value) : value_(static_cast<int64_t>(value)) {}
  Json(double value) : value_(value) {}  // not finite: written as null
  Json(const char* text) : value_(std::string(text)) {}
  Json(std::string_view text) : value_(std::string(text)) {}
  Json(std::string text) : value_(std::move(text)) {}
  static Json object() { return Json(Fields{}); }
  static Json array() { return Json(Items{}); }

  // Of an object.
  Json& set(std::string_view key, Json value);
  Json& append_fields(Json object);
  // Of an array.
  Json& push(Json value);
  // Indented by one space per level; bytes that are not UTF-8 become U+FFFD.
  std::string dump() const;

 private:
  using Items = std::vector<Json>;
  using Fields = std::vector<std::pair<std::string, Json>>;
  explicit Json(Items items) : value_(std::move(items)) {}
  explicit Json(Fields fields) : value_(std::move(fields)) {}
  void write(std::string& out, int depth) const;

  std::variant<std::monostate, bool, int64_t, double, std::string, Items, Fields> value_;
};

}  // namespace hussar::cli
