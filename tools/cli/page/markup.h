// What HTML and inline SVG are written with. Every name that comes from a model goes through escaped().
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace hussar::cli {

// For text and for attribute values in double quotes. Bytes that are not UTF-8, and control characters, become U+FFFD.
std::string escaped(std::string_view text);
// At most `most` characters, the middle left out; escaped.
std::string shortened(std::string_view text, size_t most);

// The whole document around its sections: no script, nothing from outside, colours for light and dark.
std::string document(std::string_view title, std::string_view body);

// Horizontal bars, one row per entry, the first one on top.
struct BarRow {
  std::string label;
  struct Bar {
    double value = 0;
    std::string colour;  // a class of the style sheet: "a", "b", "bad"
    std::string text;    // behind it
  };
  std::vector<Bar> bars;
};
std::string bar_chart(const std::vector<BarRow>& rows, double greatest);

}  // namespace hussar::cli
