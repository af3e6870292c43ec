#include "tools/cli/conversion_text.h"

#include <fmt/format.h>

namespace hussar::cli {

static std::string count_text(const Conversions& conversions, const ConversionCount& count, const char* kind,
                              const char* time) {
  if (count.steps == 0) return fmt::format("none of {}", kind);
  std::string text = fmt::format("{} of {}", count.steps, kind);
  if (count.views > 0) text += fmt::format(" ({} move{} no byte)", count.views, count.views == 1 ? "s" : "");
  return text + fmt::format(", {:.1f} % of {}", 100 * conversions.share(count), time);
}

std::string conversions_text(const Conversions& conversions, const char* time) {
  return count_text(conversions, conversions.layout, "layout", time) + "; " +
         count_text(conversions, conversions.precision, "precision", time);
}

static Json count_json(const Conversions& conversions, const ConversionCount& count) {
  Json json = Json::object();
  json.set("steps", count.steps).set("views", count.views).set("us", count.microseconds);
  return std::move(json.set("share", conversions.share(count)));
}

Json to_json(const Conversions& conversions) {
  Json json = Json::object();
  json.set("layout", count_json(conversions, conversions.layout));
  json.set("precision", count_json(conversions, conversions.precision));
  return std::move(json.set("all_steps_us", conversions.microseconds));
}

}  // namespace hussar::cli
