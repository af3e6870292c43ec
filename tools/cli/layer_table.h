// Layers and what they cost in accuracy, as text and JSON.
#pragma once
#include <string>

#include "compile/layer_errors.h"
#include "tools/cli/json.h"

namespace hussar::cli {

// "exact" where nothing differs, "-" where nothing is known.
std::string decibels(const std::optional<double>& sqnr);
std::string layer_table(const LayerReport& report);
Json to_json(const LayerReport& report);

}  // namespace hussar::cli
