// Conversions between layouts and between precisions, as text and JSON.
#pragma once
#include <string>

#include "compile/conversions.h"
#include "tools/cli/json.h"

namespace hussar::cli {

// "3 of layout (1 moves no byte), 1.2 % of the time; none of precision"; `time`: "the time"
std::string conversions_text(const Conversions& conversions, const char* time);
Json to_json(const Conversions& conversions);

}  // namespace hussar::cli
