// hussar completion: scripts for the shells.
#include <fmt/ranges.h>

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

// Cases of a shell's `case "VERB FLAG"`, in which FLAG is the word before: the values that are possible there. What is
// positional stands where any word may come before.
std::string value_cases(const Verb& verb, const Command& command) {
  std::string text;
  auto add = [&](const std::string& patterns, const std::vector<std::string>& choices) {
    if (choices.empty()) return;
    text += fmt::format("    {}) values=({}) ;;\n", patterns, fmt::join(choices, " "));
  };
  for (const ArgumentFacts& facts : command.options()) {
    std::string patterns;
    for (const std::string& flag : facts.flags) {
      patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : "|", verb.name, flag);
    }
    add(patterns, facts.choices);
  }
  for (const ArgumentFacts& facts : command.positionals()) add(fmt::format("'{} '*", verb.name), facts.choices);
  return text;
}

// Colons and equals signs split the words that bash hands over (COMP_WORDBREAKS), and only what follows them is
// replaced. So the words are taken from the line itself, and replies begin after the last split.
std::string bash() {
  std::string verbs, cases, values;
  for (const Verb* verb : all_verbs()) {
    verbs += (verbs.empty() ? "" : " ") + std::string(verb->name);
    describe(*verb, [&](const Command& command) {
      cases += fmt::format("    {}) words='{}' ;;\n", verb->name, flags_of(command));
      values += value_cases(*verb, command);
    });
  }
  return "# hussar completion bash > /etc/bash_completion.d/hussar\n"
         "_hussar() {\n"
         "  local line=\"${COMP_LINE:0:COMP_POINT}\" words= flag value\n"
         "  local word=\"${line##*[[:space:]]}\"\n"
         "  local -a before=(${line%\"$word\"}) values=()\n"
         "  if [ \"${#before[@]}\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         verbs +
         " --help --version' -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  case \"$word\" in\n"
         "    --*=*) flag=\"${word%%=*}\" value=\"${word#*=}\" ;;\n"
         "    *) flag=\"${before[${#before[@]}-1]}\" value=\"$word\" ;;\n"
         "  esac\n"
         "  case \"${before[1]} $flag\" in\n" +
         values +
         "  esac\n"
         "  if [[ ${#values[@]} -gt 0 && $value != -* ]]; then\n"
         "    compopt +o filenames 2> /dev/null\n"
         "    COMPREPLY=($(compgen -W \"${values[*]}\" -- \"$value\"))\n"
         "    if [[ $value == *:* && $COMP_WORDBREAKS == *:* ]]; then\n"
         "      COMPREPLY=(\"${COMPREPLY[@]#\"${value%\"${value##*:}\"}\"}\")\n"
         "    elif [[ $word == --*=* && $COMP_WORDBREAKS != *=* ]]; then\n"
         "      COMPREPLY=(\"${COMPREPLY[@]/#/$flag=}\")\n"
         "    fi\n"
         "    return\n"
         "  fi\n"
         "  case \"${before[1]}\" in\n" +
         cases +
         "  esac\n"
         "  case \"$value\" in\n"
         "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$value\")) ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _hussar hussar\n";
}

std::string zsh() {
  std::string verbs, cases, values;
  for (const Verb* verb : all_verbs()) {
    verbs += fmt::format("    '{}:{}'\n", verb->name, escaped(std::string(verb->summary)));
    describe(*verb, [&](const Command& command) {
      cases += fmt::format("    {}) flags=({}) ;;\n", verb->name, flags_of(command));
      values += value_cases(*verb, command);
    });
  }
  return "#compdef hussar\n# hussar completion zsh > \"${fpath[1]}/_hussar\"\n"
         "_hussar() {\n  local -a verbs flags values\n  local flag=$words[CURRENT-1]\n  verbs=(\n" +
         verbs +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n    _describe verb verbs\n    return\n  fi\n"
         "  if compset -P '--*='; then\n    flag=${words[CURRENT]%%=*}\n  fi\n"
         "  case \"$words[2] $flag\" in\n" +
         values +
         "  esac\n"
         "  case $words[2] in\n" +
         cases +
         "  esac\n"
         "  if [[ $PREFIX == -* ]]; then\n    compadd -a flags\n"
         "  elif (( $#values )); then\n    compadd -a values\n  else\n    _files\n  fi\n"
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
        std::string values;
        if (!facts.choices.empty()) values = fmt::format(" -x -a '{}'", fmt::join(facts.choices, " "));
        text += fmt::format("{} -d '{}'\n", !values.empty() ? values : takes_value ? " -r" : "", escaped(facts.help));
      }
      for (const ArgumentFacts& facts : command.positionals()) {
        if (facts.choices.empty()) continue;
        text += fmt::format("complete -c hussar -n '__fish_seen_subcommand_from {}' -f -a '{}'\n", verb->name,
                            fmt::join(facts.choices, " "));
      }
    });
  }
  return text;
}

Status run(Command& command) {
  std::string shell;
  command.positional("SHELL", shell, "bash, zsh or fish");
  command.suggest("SHELL", {"bash", "zsh", "fish"});
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
