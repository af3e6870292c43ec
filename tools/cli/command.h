// Command: the arguments of one verb: declared, parsed, explained.
//
//   command.positional("MODEL", model, "an ONNX model");
//   command.option("-o,--output", "FILE", output, "where the plan goes", true);
//   if (!HUSSAR_TRY(command.parse())) return {};
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"
#include "tools/cli/json.h"

namespace hussar::cli {

struct Verb;

// What help and shell completion say about an option or positional argument.
struct ArgumentFacts {
  std::vector<std::string> flags;  // {"-o", "--output"}; empty for positionals
  std::string value_name;          // "FILE"; "" for a switch
  std::string help;
  std::vector<std::string> choices;  // of values, for completion
};

class Command {
 public:
  // `arguments` are those after the verb. describe_only: parse() parses nothing and says to stop.
  Command(const Verb& verb, std::vector<std::string> arguments, bool describe_only = false);
  ~Command();

  void positional(const std::string& name, std::string& variable, const std::string& help, bool required = true);
  void positionals(const std::string& name, std::vector<std::string>& variable, const std::string& help, int at_least);
  void option(const std::string& flags, const std::string& value_name, std::string& variable, const std::string& help,
              bool required = false);
  void option(const std::string& flags, const std::string& value_name, int& variable, const std::string& help);
  void option(const std::string& flags, const std::string& value_name, double& variable, const std::string& help);
  // May be given several times.
  void option(const std::string& flags, const std::string& value_name, std::vector<std::string>& variable,
              const std::string& help);
  void option(const std::string& flag, std::string& variable, std::vector<std::string> choices,
              const std::string& help);
  void toggle(const std::string& flags, bool& variable, const std::string& help);
  // What shell completion offers as values of an option or positional argument; other values are allowed.
  void suggest(const std::string& name, const std::vector<std::string>& values);
  // A flag that hussar will know one day: using it is an error that says why, never silently ignored.
  void refuse(const std::string& flag, const std::string& why);

  // Adds the options that all verbs have and parses. False: help was asked for and printed, or describe_only.
  Result<bool> parse();

  // True when the verb's text belongs on stdout: not while JSON goes there.
  bool prints_text() const { return json_path_ != "-"; }
  // Writes {"schema_version", "verb", "hussar_version", and the fields of `body`} where --json asks for it. Once.
  Status report(Json body) const;
  // The same for a failure, unless something has been reported.
  void report_error(const Error& error) const;
  // Finds out where --json asks for; parse() does so, and who reports an error without parsing.
  void find_json();

  const Verb& verb() const { return verb_; }
  const std::vector<ArgumentFacts>& options() const { return options_; }
  const std::vector<ArgumentFacts>& positionals() const { return positionals_; }
  std::string help() const;

 private:
  struct Parser;
  Status check_flags() const;
  void add_common_options();

  const Verb& verb_;
  std::vector<std::string> arguments_;
  bool describe_only_;
  bool quiet_ = false;
  mutable bool has_reported_ = false;
  std::string json_path_;  // "-": stdout
  std::vector<ArgumentFacts> options_, positionals_;
  std::vector<std::pair<std::string, std::string>> refused_;
  std::unique_ptr<Parser> parser_;
};

// The candidate with the least edit distance, if it is close enough to be a typo; else "".
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// The version of every JSON object that `hussar` writes; raised when a field changes its meaning or goes.
inline constexpr int kSchemaVersion = 1;

}  // namespace hussar::cli
