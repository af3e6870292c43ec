// Parsing with CLI11; help and suggestions of our own. The only file that includes CLI11, which is slow to compile.
#include "tools/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/file.h"
#include "hussar/version.h"
#include "tools/cli/console.h"
#include "tools/cli/refusal_list.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

std::vector<std::string> split_flags(const std::string& flags) {
  std::vector<std::string> list;
  for (size_t begin = 0; begin <= flags.size();) {
    size_t end = std::min(flags.find(',', begin), flags.size());
    list.push_back(flags.substr(begin, end - begin));
    begin = end + 1;
  }
  return list;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

bool looks_like_flag(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && std::isdigit(static_cast<unsigned char>(word[1])) == 0 && word[1] != '.';
}

}  // namespace

struct Command::Parser {
  CLI::App app;
};

Command::Command(const Verb& verb, std::vector<std::string> arguments, bool describe_only)
    : verb_(verb),
      arguments_(std::move(arguments)),
      describe_only_(describe_only),
      parser_(std::make_unique<Parser>()) {
  parser_->app.set_help_flag();
}

Command::~Command() = default;

void Command::positional(const std::string& name, std::string& variable, const std::string& help, bool required) {
  positionals_.push_back({{}, required ? name : "[" + name + "]", help, {}});
  parser_->app.add_option(name, variable)->required(required);
}

void Command::positionals(const std::string& name, std::vector<std::string>& variable, const std::string& help,
                          int at_least) {
  positionals_.push_back({{}, name + "...", help, {}});
  parser_->app.add_option(name, variable)->expected(at_least, 1 << 20)->required(at_least > 0);
}

void Command::option(const std::string& flags, const std::string& value_name, std::string& variable,
                     const std::string& help, bool required) {
  options_.push_back({split_flags(flags), value_name, help, {}});
  parser_->app.add_option(flags, variable)->required(required);
}

void Command::option(const std::string& flags, const std::string& value_name, int& variable, const std::string& help) {
  options_.push_back({split_flags(flags), value_name, help, {}});
  parser_->app.add_option(flags, variable);
}

void Command::option(const std::string& flags, const std::string& value_name, double& variable,
                     const std::string& help) {
  options_.push_back({split_flags(flags), value_name, help, {}});
  parser_->app.add_option(flags, variable);
}

void Command::option(const std::string& flags, const std::string& value_name, std::vector<std::string>& variable,
                     const std::string& help) {
  options_.push_back({split_flags(flags), value_name, help, {}});
  parser_->app.add_option(flags, variable)->expected(1)->take_all();
}

void Command::option(const std::string& flag, std::string& variable, std::vector<std::string> choices,
                     const std::string& help) {
  std::string names;
  for (const std::string& choice : choices) names += (names.empty() ? "" : "|") + choice;
  options_.push_back({split_flags(flag), names, help, choices});
  parser_->app.add_option(flag, variable)->check(CLI::IsMember(choices));
}

void Command::toggle(const std::string& flags, bool& variable, const std::string& help) {
  options_.push_back({split_flags(flags), "", help, {}});
  parser_->app.add_flag(flags, variable);
}

void Command::suggest(const std::string& name, const std::vector<std::string>& values) {
  for (auto* list : {&options_, &positionals_}) {
    for (ArgumentFacts& facts : *list) {
      bool is_flag = std::find(facts.flags.begin(), facts.flags.end(), name) != facts.flags.end();
      if (is_flag || (facts.flags.empty() && facts.value_name == name)) facts.choices = values;
    }
  }
}

void Command::refuse(const std::string& flag, const std::string& why) { refused_.emplace_back(flag, why); }

void Command::add_common_options() {
  options_.push_back({{"--json"}, "[FILE.json]", "write the result as JSON to FILE.json, else to stdout", {}});
  parser_->app.add_option("--json", json_path_);
  toggle("-q,--quiet", quiet_, "only errors on stderr");
  options_.push_back({{"-h", "--help"}, "", "this text", {}});
}

// Typos are reported before missing arguments, which often follow from them.
Status Command::check_flags() const {
  std::vector<std::string> known;
  for (const ArgumentFacts& facts : options_) known.insert(known.end(), facts.flags.begin(), facts.flags.end());
  for (const std::string& word : arguments_) {
    if (word == "--") return {};
    if (!looks_like_flag(word)) continue;
    std::string flag = word[1] == '-' ? word.substr(0, word.find('=')) : word.substr(0, 2);
    for (const auto& [name, why] : refused_) {
      HUSSAR_CHECK(flag != name, ErrorCode::kUsage, "{} is not possible with hussar {}: {}", flag, HUSSAR_VERSION, why);
    }
    if (std::find(known.begin(), known.end(), flag) != known.end()) continue;
    std::string close = nearest(flag, known);
    return fail(ErrorCode::kUsage, "there is no option {}{}; `hussar {} --help` lists them", flag,
                close.empty() ? "" : ", did you mean " + close + "?", verb_.name);
  }
  return {};
}

void Command::find_json() {
  // The file of --json is optional, so it is told from a positional argument by its name.
  for (size_t i = 0; i < arguments_.size(); ++i) {
    if (arguments_[i] != "--json") continue;
    bool has_file = i + 1 < arguments_.size() && (arguments_[i + 1].ends_with(".json") || arguments_[i + 1] == "-");
    arguments_[i] = "--json=" + (has_file ? arguments_[i + 1] : std::string("-"));
    if (has_file) arguments_.erase(arguments_.begin() + static_cast<ptrdiff_t>(i) + 1);
  }
  for (const std::string& word : arguments_) {
    if (word.rfind("--json=", 0) == 0) json_path_ = word.substr(7);
  }
}

Result<bool> Command::parse() {
  add_common_options();
  if (describe_only_) return false;
  for (const std::string& word : arguments_) {
    if (word == "--") break;
    if (word == "-h" || word == "--help") {
      print_out(help());
      return false;
    }
  }
  find_json();
  HUSSAR_TRY(check_flags());
  try {
    std::vector<std::string> reversed(arguments_.rbegin(), arguments_.rend());
    parser_->app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kUsage, "{}; `hussar {} --help` explains", error.what(), verb_.name);
  }
  set_quiet(quiet_);
  if (!json_path_.empty() && json_path_ != "-") HUSSAR_TRY(check_can_write(json_path_));
  return true;
}

Status Command::report(Json body) const {
  if (json_path_.empty()) return {};
  has_reported_ = true;
  Json whole = Json::object();
  whole.set("schema_version", kSchemaVersion).set("verb", verb_.name).set("hussar_version", HUSSAR_VERSION);
  whole.append_fields(std::move(body));
  std::string text = whole.dump() + "\n";
  if (json_path_ != "-") return write_file_atomically(json_path_, {std::as_bytes(std::span(text.data(), text.size()))});
  print_out(text);
  return {};
}

void Command::report_error(const Error& error) const {
  if (has_reported_) return;
  Json fields = Json::object();
  fields.set("code", static_cast<int>(error.code)).set("message", shortened(error.message));
  if (error.code == ErrorCode::kInvalidModel) fields.set("details", listed_things(error.message));
  // The first failure is the one that the program ends with.
  (void)report(Json::object().set("error", std::move(fields))).has_value();
}

std::string Command::help() const {
  std::string text = fmt::format("hussar {}: {}\n\nUsage: hussar {}", verb_.name, verb_.summary, verb_.name);
  for (const ArgumentFacts& facts : positionals_) text += " " + facts.value_name;
  text += " [options]\n\n";
  auto line = [&text](const std::string& left, const std::string& help) {
    std::string gap = left.size() < 32 ? std::string(32 - left.size(), ' ') : "\n" + std::string(34, ' ');
    text += "  " + left + gap + help + "\n";
  };
  for (const ArgumentFacts& facts : positionals_) line(facts.value_name, facts.help);
  for (const ArgumentFacts& facts : options_) {
    std::string left;
    for (const std::string& flag : facts.flags) left += (left.empty() ? "" : ", ") + flag;
    if (!facts.value_name.empty()) left += " " + facts.value_name;
    line(left, facts.help);
  }
  text += "\nExamples:\n";
  std::string_view rest = verb_.examples;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    text += "  " + std::string(rest.substr(0, end)) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return text;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = (word.size() < 4 ? 1 : std::max<size_t>(word.size() / 3, 2)) + 1;
  for (const std::string& candidate : candidates) {
    // "-o" is near every other short flag, which helps nobody.
    if (candidate.size() <= 2 && word.size() <= 2) continue;
    size_t distance = edit_distance(word, candidate);
    bool prefix = word.size() >= 4 && candidate.compare(0, word.size(), word) == 0;
    if (prefix) distance = std::min<size_t>(distance, 1);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

}  // namespace hussar::cli
