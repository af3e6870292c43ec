// Reading the options object.
#include "api/options_json.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace hussar {
namespace {

using nlohmann::json;

Status read_int8(const json& object, Int8Request& request) {
  HUSSAR_CHECK(object.is_object(), ErrorCode::kUsage,
               "option \"int8\" takes an object such as {{\"calibration_file\": \"c.json\"}}");
  const std::map<std::string, std::string*> texts = {{"calibration", &request.calibration},
                                                     {"calibration_file", &request.calibration_file},
                                                     {"method", &request.method}};
  const std::map<std::string, bool*> switches = {
      {"dynamic", &request.dynamic}, {"strict", &request.strict}, {"fp8", &request.fp8}};
  for (const auto& [key, value] : object.items()) {
    const auto text = texts.find(key);
    HUSSAR_CHECK(text != texts.end() || switches.count(key) > 0, ErrorCode::kUsage,
                 "option \"int8\" has no \"{}\"; known are calibration, calibration_file, method, dynamic, strict, fp8",
                 key);
    const bool fits = text != texts.end() ? value.is_string() : value.is_boolean();
    HUSSAR_CHECK(fits, ErrorCode::kUsage, "\"{}\" of option \"int8\" takes {}", key,
                 text != texts.end() ? "a string" : "true or false");
    if (text != texts.end()) {
      *text->second = value.get<std::string>();
    } else {
      *switches.at(key) = value.get<bool>();
    }
  }
  return {};
}

Status read_option(const std::string& key, const json& value, BuildOptions& options) {
  auto wrong = [&](const char* wanted) { return fail(ErrorCode::kUsage, "option \"{}\" takes {}", key, wanted); };
  if (key == "shapes") {
    if (!value.is_string()) return wrong("a string such as \"x:1x3x224x224\"");
    options.compile.shapes = HUSSAR_TRY(parse_shapes(value.get<std::string>()));
  } else if (key == "threads") {
    bool ok = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= 1024;
    if (!ok) return wrong("an integer from 0 to 1024");
    options.compile.threads = value.get<int>();
  } else if (key == "target") {
    if (!value.is_string()) return wrong("a string such as \"cpu:avx2\"");
    options.compile.set_target(HUSSAR_TRY(parse_target(value.get<std::string>())));
  } else if (key == "fp16" || key == "bf16" || key == "tf32") {
    if (!value.is_boolean()) return wrong("true or false");
    CompileOptions& compile = options.compile;
    (key == "fp16" ? compile.fp16 : key == "bf16" ? compile.bf16 : compile.tf32) = value.get<bool>();
  } else if (key == "libraries") {
    if (!value.is_string()) return wrong("\"off\", \"on\" or \"only\"");
    options.compile.libraries = HUSSAR_TRY(parse_libraries(value.get<std::string>()));
  } else if (key == "packed") {
    if (!value.is_boolean()) return wrong("true or false");
    options.compile.packed = value.get<bool>();
  } else if (key == "token_part") {
    if (!value.is_number()) return wrong("a number above 0 and at most 1");
    options.compile.token_part = value.get<double>();
  } else if (key == "int8") {
    HUSSAR_TRY(read_int8(value, options.int8.emplace()));
  } else if (key == "disable_passes" || key == "fp32_nodes") {
    auto& names = key[0] == 'd' ? options.compile.disabled_passes : options.compile.fp32_nodes;
    if (!value.is_array()) return wrong("a list of strings");
    for (const json& name : value) {
      if (!name.is_string()) return wrong("a list of strings");
      names.push_back(name.get<std::string>());
    }
  } else if (key == "self_check") {
    if (!value.is_string()) return wrong("\"off\", \"quick\" or \"full\"");
    options.check.level = HUSSAR_TRY(parse_self_check(value.get<std::string>()));
  } else if (key == "budget") {
    if (!value.is_string()) return wrong("a string such as \"10s\"");
    options.compile.tune_seconds = HUSSAR_TRY(parse_duration(value.get<std::string>()));
  } else if (key == "timing_cache") {
    if (!value.is_string()) return wrong("the name of a file");
    options.timing_cache = value.get<std::string>();
  } else if (key == "tolerance") {
    if (!value.is_number()) return wrong("a number");
    options.check.tolerance = value.get<double>();
  } else {
    return fail(ErrorCode::kUsage,
                "there is no option \"{}\"; known are shapes, threads, target, packed, token_part, fp16, bf16, tf32, "
                "fp32_nodes, int8, "
                "libraries, disable_passes, self_check, tolerance, budget, timing_cache",
                key);
  }
  return {};
}

}  // namespace

Result<BuildOptions> parse_build_options(const char* text) {
  BuildOptions options;
  options.compile.tune_seconds = HUSSAR_TRY(parse_duration(kUsualBudget));
  if (text == nullptr || *text == '\0') return options;
  json object = json::parse(text, nullptr, false);
  HUSSAR_CHECK(object.is_object(), ErrorCode::kUsage, "the options are not a JSON object: {}", text);
  for (const auto& [key, value] : object.items()) HUSSAR_TRY(read_option(key, value, options));
  return options;
}

}  // namespace hussar
