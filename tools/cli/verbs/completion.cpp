// hussar completion: scripts for the shells.
#include <functional>

#include "base/error.h"
#include "tools/cli/console.h"
#include "tools/cli/verb.h"

namespace hussar::cli {
namespace {

// All flags of a verb, separated by spaces.
std::string flags_of(const Command& command) {
  std::string text;
  for (const ArgumentFacts& facts : command.options()) {
    for (const std::string& flag : facts.flags) text += (text.empty() ? "" : " ") + flag;
  }
  return text;
}

std::string escaped(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\'') text.replace(i, 1, "'\\''"), i += 3;
  }
  return text;
}

void describe(const Verb& verb, const std::function<void(const Command&)>& use) {
  Command command(verb, {}, true);
  if (verb.run(command)) use(command);
}

std::string bash() {
  std::string verbs, cases;
  for (const Verb* verb : all_verbs()) {
    verbs += (verbs.empty() ? "" : " ") + std::string(verb->name);
    describe(*verb, [&](const Command& command) {
      cases += fmt::format("    {}) words='{}' ;;\n", verb->name, flags_of(command));
    });
  }
  return "# hussar completion bash > /etc/bash_completion.d/hussar\n"
         "_hussar() {\n"
         "  local word=\"${COMP_WORDS[COMP_CWORD]}\" words=\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         verbs +
         " --help --version' -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  case \"${COMP_WORDS[1]}\" in\n" +
         cases +
         "  esac\n"
         "  case \"$word\" in\n"
         "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _hussar hussar\n";
}

std::string zsh() {
  std::string verbs, cases;
  for (const Verb* verb : all_verbs()) {
    verbs += fmt::format("    '{}:{}'\n", verb->name, escaped(std::string(verb->summary)));
    describe(*verb, [&](const Command& command) {
      cases += fmt::format("    {}) flags=({}) ;;\n", verb->name, flags_of(command));
    });
  }
  return "#compdef hussar\n# hussar completion zsh > \"${fpath[1]}/_hussar\"\n"
         "_hussar() {\n  local -a verbs flags\n  verbs=(\n" +
         verbs +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n"
         "  case $words[2] in\n" +
         cases +
         "  esac\n"
         "  if [[ $PREFIX == -* ]]; then\n    compadd -a flags\n  else\n    _files\n  fi\n"
         "}\n"
         "_hussar \"$@\"\n";
}

std::string fish() {
  std::string text = "# hussar completion fish > ~/.config/fish/completions/hussar.fish\n";
  for (const Verb* verb : all_verbs()) {
    text += fmt::format("complete -c hussar -n __fish_use_subcommand -f -a {} -d '{}'\n", verb->name,
                        escaped(std::string(verb->summary)));
    describe(*verb, [&](const Command& command) {
      for (const ArgumentFacts& facts : command.options()) {
        text += fmt::format("complete -c hussar -n '__fish_seen_subcommand_from {}'", verb->name);
        for (const std::string& flag : facts.flags) {
          text += flag[1] == '-' ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
        }
        bool takes_value = !facts.value_name.empty() && facts.value_name[0] != '[';
        text += fmt::format("{} -d '{}'\n", takes_value ? " -r" : "", escaped(facts.help));
      }
    });
  }
  return text;
}

Status run(Command& command) {
  std::string shell;
  command.positional("SHELL", shell, "bash, zsh or fish");
  if (!HUSSAR_TRY(command.parse())) return {};
  HUSSAR_CHECK(shell == "bash" || shell == "zsh" || shell == "fish", ErrorCode::kUsage,
               "there is no completion for '{}': bash, zsh or fish", shell);
  std::string script = shell == "bash" ? bash() : shell == "zsh" ? zsh() : fish();
  if (command.prints_text()) print_out(script);
  return command.report(Json::object().set("shell", shell).set("script", script));
}

}  // namespace

extern const Verb completion_verb = {"completion", "prints a completion script for bash, zsh or fish",
                                     "hussar completion bash > /etc/bash_completion.d/hussar\n"
                                     "hussar completion zsh > \"${fpath[1]}/_hussar\"\n"
                                     "hussar completion fish > ~/.config/fish/completions/hussar.fish",
                                     run};

}  // namespace hussar::cli
