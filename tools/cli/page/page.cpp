// The order of the sections.
#include "tools/cli/page/page.h"

#include <fmt/format.h>

#include "base/file.h"
#include "tools/cli/page/markup.h"

namespace hussar::cli {

std::string render(const PageContent& content) {
  std::string body = "<table>\n";
  for (const auto& [what, value] : content.facts) {
    body += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped(what), escaped(value));
  }
  body += "</table>\n";
  if (content.int8 != nullptr) body += latency_section(*content.int8);
  if (content.plan != nullptr) body += kept_section(*content.plan);
  if (content.sensitivity != nullptr) body += sensitivity_section(*content.sensitivity);
  if (content.layers != nullptr) body += layer_section(*content.layers, content.layers_note);
  if (content.calibration != nullptr) body += histogram_section(*content.calibration);
  return document(content.title, body);
}

Status write_page(const PageContent& content, const std::string& path) {
  const std::string html = render(content);
  return write_file_atomically(path, {std::as_bytes(std::span(html.data(), html.size()))});
}

}  // namespace hussar::cli
