// Error messages that list what is wrong with a model, one thing per line.
#pragma once
#include <string>

#include "tools/cli/json.h"

namespace hussar::cli {

// An array of the things that the message lists; of the message itself when it lists none.
Json listed_things(const std::string& message);
// The message with the first things of a long list only.
std::string shortened(const std::string& message);

}  // namespace hussar::cli
