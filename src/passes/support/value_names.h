// Names of values that passes made up.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>

namespace hussar {

// Of "x~12" with so many channels: a name with these instead of the number, which makes names unique and is another
// one with other shapes. "" of other names.
inline std::string name_without_number(std::string_view name, size_t channels) {
  const size_t at = name.rfind('~');
  const bool is_numbered = at != std::string_view::npos && at > 0 && at + 1 < name.size() &&
                           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(at) + 1, name.end(),
                                       [](char c) { return c >= '0' && c <= '9'; });
  return is_numbered ? std::string(name.substr(0, at)) + "~[" + std::to_string(channels) + "]" : "";
}

}  // namespace hussar
