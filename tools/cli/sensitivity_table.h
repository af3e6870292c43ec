// Sensitivity as text, as JSON, and as advice.
#pragma once
#include <string>

#include "compile/sensitivity.h"
#include "tools/cli/json.h"

namespace hussar::cli {

std::string sensitivity_table(const SensitivityReport& report);
Json to_json(const SensitivityReport& report);
// For `hussar build --precision @FILE`: one NODE=fp32 a line, each below a comment that says why.
std::string advice_text(const std::string& model, const SensitivityReport& report, double wanted_db);

}  // namespace hussar::cli
