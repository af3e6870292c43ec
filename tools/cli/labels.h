// --labels: the right class of every sample of the data.
#pragma once
#include <string>
#include <vector>

#include "hussar/status.h"

namespace hussar::cli {

// Integers, one per sample, in the order of the data.
Result<std::vector<int64_t>> read_labels(const std::string& path);

}  // namespace hussar::cli
