// The operators that are two convolutions and their sum (ops/conv_sum.h): their names, and how their inputs and
// attributes are those of two.
#pragma once
#include <string>
#include <string_view>

#include "tensor/attributes.h"

namespace hussar {

inline constexpr std::string_view kConvSum = "hussar.ConvSum", kQuantizedConvSum = "hussar.QuantizedConvSum";
inline constexpr std::string_view kShortcutPrefix = "shortcut_";

inline bool is_conv_sum(std::string_view op) { return op == kConvSum || op == kQuantizedConvSum; }
// The operator of each of the two.
inline std::string_view parts_of_conv_sum(std::string_view op) {
  return op == kConvSum ? "Conv" : "hussar.QuantizedConv";
}
// Inputs of each: x, w, bias; of bytes x, w, scales, bias.
inline size_t inputs_of_part(std::string_view op) { return op == kConvSum ? 3 : 4; }

// The attributes of the first convolution, or of the shortcut.
inline Attributes part_attributes(const Attributes& attributes, bool is_shortcut) {
  Attributes own;
  for (const auto& [name, value] : attributes.all()) {
    if (name.starts_with(kShortcutPrefix) != is_shortcut) continue;
    own.set(std::string_view(name).substr(is_shortcut ? kShortcutPrefix.size() : 0), value);
  }
  return own;
}

}  // namespace hussar
