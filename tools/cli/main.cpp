// hussar: the command-line program. Exit codes are those of ErrorCode (include/hussar/status.h); 0 is success.
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "hussar/version.h"
#include "tools/cli/console.h"
#include "tools/cli/interruption.h"
#include "tools/cli/refusal_list.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

std::string general_help() {
  std::string text = "hussar " HUSSAR_VERSION
                     ": compiles ONNX models into fast plans for this machine and runs them\n\n"
                     "Usage: hussar VERB [arguments]\n\nVerbs:\n";
  for (const Verb* verb : all_verbs()) text += fmt::format("  {:<12}{}\n", verb->name, verb->summary);
  text +=
      "\n`hussar VERB --help` explains a verb with examples. A first try:\n"
      "  hussar build model.onnx -o model.plan\n"
      "  hussar bench model.plan\n"
      "  hussar compare model.onnx model.plan\n\n"
      "Exit codes: 0 ok, 1 failed at run time, 2 usage, 3 model invalid or unsupported, 4 accuracy check failed,\n"
      "6 device unavailable, 7 plan incompatible, 130 interrupted, 143 terminated.\n";
  return text;
}

const Verb* find_verb(const std::string& name) {
  for (const Verb* verb : all_verbs()) {
    if (verb->name == name) return verb;
  }
  return nullptr;
}

Status run_caught(const Verb& verb, Command& command) {
  try {
    return verb.run(command);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kRunFailed, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorCode::kRunFailed, "internal error: {}", error.what());
  }
}

Status run_verb(const Verb& verb, std::vector<std::string> arguments) {
  Command command(verb, std::move(arguments));
  Status status = run_caught(verb, command);
  if (!status) command.report_error(status.error());
  return status;
}

Status refuse_verb(const std::string& word, std::vector<std::string> arguments) {
  std::vector<std::string> names;
  for (const Verb* known : all_verbs()) names.emplace_back(known->name);
  std::string close = nearest(word, names);
  Status status = fail(ErrorCode::kUsage, "there is no verb '{}'{}; `hussar --help` lists them", word,
                       close.empty() ? "" : ", did you mean '" + close + "'?");
  const Verb unknown{word, "", "", nullptr};
  Command command(unknown, std::move(arguments));
  command.find_json();
  command.report_error(status.error());
  return status;
}

Result<std::string> dispatch(std::vector<std::string> arguments, std::string& verb_name) {
  HUSSAR_CHECK(!arguments.empty(), ErrorCode::kUsage, "no verb was given; `hussar --help` lists them");
  std::string word = arguments[0];
  arguments.erase(arguments.begin());
  if (word == "--version" || word == "-V") word = "version";
  if (word == "help" && !arguments.empty()) {
    word = arguments[0];
    arguments = {"--help"};
  } else if (word == "--help" || word == "-h" || word == "help") {
    print_out(general_help());
    return verb_name;
  }
  const Verb* verb = find_verb(word);
  if (verb == nullptr) return tl::unexpected(refuse_verb(word, std::move(arguments)).error());
  verb_name = verb->name;
  HUSSAR_TRY(run_verb(*verb, std::move(arguments)));
  return verb_name;
}

}  // namespace
}  // namespace hussar::cli

int main(int count, char** words) {
  using namespace hussar;
  // A write beyond a file size limit shall fail like one on a full disk, with a message.
  std::signal(SIGXFSZ, SIG_IGN);
  cli::end_on_signals();
  std::string verb;
  auto result = cli::dispatch(std::vector<std::string>(words + std::min(count, 1), words + count), verb);
  Status written = cli::finish_output();
  Status status = result ? written : Status(tl::unexpected(result.error()));
  if (status) return 0;
  cli::print_error(verb, cli::shortened(status.error().message));
  return cli::exit_code(status.error().code);
}
