// Attributes: the named constants of a node, as ONNX writes them.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hussar/tensor.h"

namespace hussar {

using Ints = std::vector<int64_t>;
using Floats = std::vector<float>;
using Strings = std::vector<std::string>;
using Attribute = std::variant<int64_t, float, std::string, Tensor, Ints, Floats, Strings>;

class Attributes {
 public:
  bool has(std::string_view name) const { return map_.find(name) != map_.end(); }
  void set(std::string_view name, Attribute value) { map_.insert_or_assign(std::string(name), std::move(value)); }
  void erase(std::string_view name) {
    if (auto it = map_.find(name); it != map_.end()) map_.erase(it);
  }
  // Each getter returns the default when the attribute is absent or of another kind.
  int64_t get_int(std::string_view name, int64_t otherwise) const { return get<int64_t>(name, otherwise); }
  float get_float(std::string_view name, float otherwise) const { return get<float>(name, otherwise); }
  std::string get_string(std::string_view name, std::string otherwise) const {
    return get<std::string>(name, std::move(otherwise));
  }
  Ints get_ints(std::string_view name, Ints otherwise = {}) const { return get<Ints>(name, std::move(otherwise)); }
  Floats get_floats(std::string_view name, Floats otherwise = {}) const {
    return get<Floats>(name, std::move(otherwise));
  }
  Strings get_strings(std::string_view name) const { return get<Strings>(name, {}); }
  // Null when absent or of another kind.
  const Tensor* get_tensor(std::string_view name) const { return find<Tensor>(name); }
  template <class T>
  const T* find(std::string_view name) const {
    auto it = map_.find(name);
    return it == map_.end() ? nullptr : std::get_if<T>(&it->second);
  }
  // In the order of the names.
  const std::map<std::string, Attribute, std::less<>>& all() const { return map_; }

 private:
  template <class T>
  T get(std::string_view name, T otherwise) const {
    const T* value = find<T>(name);
    return value != nullptr ? *value : otherwise;
  }
  std::map<std::string, Attribute, std::less<>> map_;
};

}  // namespace hussar
