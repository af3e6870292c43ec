// What `hussar inspect` says about a model and about a plan.
#pragma once
#include <string>

#include "compile/spelling.h"
#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

struct InspectOptions {
  NamedShapes shapes;   // for figures that depend on shapes
  bool verify = false;  // plans: hash the constants too
  bool regions = true;  // the table of steps of a plan, of product weights of a model
};

Status inspect_model(const std::string& path, const InspectOptions& options, const Command& command);
Status inspect_plan(const std::string& path, const InspectOptions& options, const Command& command);

}  // namespace hussar::cli
