// Lists in error messages: ops/refusals.h writes them, indented below the line that counts them.
#include "tools/cli/refusal_list.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace hussar::cli {
namespace {

constexpr std::string_view kIndent = "\n  ";
constexpr size_t kMostShown = 50;

std::vector<std::string> things_in(const std::string& message) {
  std::vector<std::string> things;
  for (size_t begin = message.find(kIndent); begin != std::string::npos;) {
    begin += kIndent.size();
    const size_t end = message.find(kIndent, begin);
    things.push_back(message.substr(begin, end == std::string::npos ? end : end - begin));
    begin = end;
  }
  return things;
}

}  // namespace

Json listed_things(const std::string& message) {
  Json list = Json::array();
  const std::vector<std::string> things = things_in(message);
  for (const std::string& thing : things) list.push(thing);
  if (things.empty()) list.push(message);
  return list;
}

std::string shortened(const std::string& message) {
  const std::vector<std::string> things = things_in(message);
  if (things.size() <= kMostShown) return message;
  std::string text = message.substr(0, message.find(kIndent));
  for (size_t i = 0; i < kMostShown; ++i) text.append(kIndent).append(things[i]);
  return text + fmt::format("{}... and {} more", kIndent, things.size() - kMostShown);
}

}  // namespace hussar::cli
