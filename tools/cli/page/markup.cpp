// Writing HTML.
#include "tools/cli/page/markup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hussar::cli {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#667080;--paper:#fff;--line:#d5dae1;--a:#4878a8;--b:#e08a2c;
--bad:#c0392b;--fill:#9db8d4;--m0:#8e44ad;--m1:#7f8c8d;--m2:#16a085;--m3:#27ae60;--m4:#8a9a10;--m5:#c0392b;--m6:#d35400;
--m7:#2c3eaa}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa4b2;--paper:#15181c;--line:#363c45;--a:#6fa3d8;
--b:#f0a450;--bad:#ff6b5b;--fill:#3f5f82;--m0:#c58be0;--m1:#aab4b5;--m2:#3fd1b4;--m3:#5fdc8c;--m4:#ccd955;--m5:#ff7a6b;
--m6:#ff9a4d;--m7:#8ea0ff}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1180px;margin:2em auto;
padding:0 1em}h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.15em;margin-top:2.2em;border-bottom:1px solid var(--line)}
p,dd{color:var(--soft)}b,dt{color:var(--ink)}table{border-collapse:collapse}td,th{padding:.2em .8em .2em 0;
text-align:left;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td:last-child{min-width:12em}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(350px,1fr));gap:1em}
figure{margin:0;border:1px solid var(--line);border-radius:4px;padding:.5em}figcaption{font-size:12px;
color:var(--soft);overflow-wrap:anywhere}svg{display:block;width:100%;height:auto}svg text{fill:var(--ink);
font:11px system-ui,sans-serif}svg .soft{fill:var(--soft)}.a{fill:var(--a)}.b{fill:var(--b)}.bad{fill:var(--bad)}
.fill{fill:var(--fill)}.axis{stroke:var(--line)}.chosen{stroke-width:3}.key{display:inline-block;width:1em;height:.7em;
margin:0 .3em 0 1em}
)";

// How many bytes the UTF-8 character at the front has; 0 when it is none, or a control character.
size_t character_bytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return first >= 0x20 && first != 0x7F ? 1 : 0;
  const size_t bytes = first >= 0xF0 && first < 0xF5 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first >= 0xF5 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return bytes;
}

std::vector<std::string> characters_of(std::string_view text) {
  std::vector<std::string> characters;
  while (!text.empty()) {
    const size_t bytes = character_bytes(text);
    characters.emplace_back(bytes == 0 ? std::string_view("\uFFFD") : text.substr(0, bytes));
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return characters;
}

std::string escape_character(const std::string& character) {
  if (character == "&") return "&amp;";
  if (character == "<") return "&lt;";
  if (character == ">") return "&gt;";
  if (character == "\"") return "&quot;";
  return character == "'" ? "&#39;" : character;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const std::string& character : characters_of(text)) out += escape_character(character);
  return out;
}

std::string shortened(std::string_view text, size_t most) {
  const std::vector<std::string> characters = characters_of(text);
  std::string out;
  const size_t tail = most / 2, head = most - tail - 1;
  for (size_t i = 0; i < characters.size(); ++i) {
    if (characters.size() > most && i == head) {
      out += "\u2026";
      i = characters.size() - tail;
    }
    out += escape_character(characters[i]);
  }
  return out;
}

std::string document(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>\n{2}</body></"
      "html>\n",
      escaped(title), kStyle, body);
}

std::string bar_chart(const std::vector<BarRow>& rows, double greatest) {
  constexpr double kWidth = 1100, kLabel = 380, kValue = 200, kBar = 13, kGap = 8;
  constexpr size_t kLabelCharacters = 58;
  double y = 2;
  std::string inside;
  for (const BarRow& row : rows) {
    const double height = kBar * static_cast<double>(std::max<size_t>(row.bars.size(), 1));
    inside += fmt::format("<text x=\"0\" y=\"{:.0f}\">{}<title>{}</title></text>", y + height / 2 + 4,
                          shortened(row.label, kLabelCharacters), escaped(row.label));
    for (size_t i = 0; i < row.bars.size(); ++i) {
      const BarRow::Bar& bar = row.bars[i];
      const double share = greatest > 0 && std::isfinite(bar.value) ? std::clamp(bar.value / greatest, 0.0, 1.0) : 0;
      const double width = share * (kWidth - kLabel - kValue), top = y + kBar * static_cast<double>(i);
      inside += fmt::format("<rect class=\"{}\" x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"{:.0f}\"/>",
                            bar.colour, kLabel, top, std::max(width, 0.5), kBar - 1);
      inside += fmt::format("<text class=\"soft\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>\n", kLabel + width + 5,
                            top + kBar - 3, escaped(bar.text));
    }
    y += height + kGap;
  }
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\">{}</svg>\n", kWidth, y, inside);
}

}  // namespace hussar::cli
