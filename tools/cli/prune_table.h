// What `hussar prune` says about a model's products.
#pragma once
#include <string>

#include "compile/prune_model.h"
#include "tools/cli/json.h"

namespace hussar::cli {

// is_list: nothing was pruned, and `is_pruned` means that it could be.
std::string prune_table(const ModelPruneReport& report, bool is_list);
Json to_json(const ModelPruneReport& report);

}  // namespace hussar::cli
