// Verb: one subcommand of `hussar`. verbs/<name>.cpp defines `extern const Verb <name>_verb`; CMake lists the folder.
#pragma once
#include <span>
#include <string_view>

#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

struct Verb {
  std::string_view name;
  std::string_view summary;   // one line
  std::string_view examples;  // complete command lines, one per line, the simplest first: the tests run that
                              // one beside a model.onnx, its model.plan, and an x.npy for its input x
  // Declares its arguments on the command, calls parse(), and works unless that says to stop.
  Status (*run)(Command&) = nullptr;
};

std::span<const Verb* const> all_verbs();

}  // namespace hussar::cli
