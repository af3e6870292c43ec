// What the conformance tests run on.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {

// Runs a model once: inputs by index into graph.input (missing ones have defaults), outputs in graph order.
using Runner = std::function<Result<std::vector<Tensor>>(const std::map<size_t, Tensor>& inputs)>;

// target: "reference" or "cpu".
Result<Runner> make_runner(const std::string& target, const std::string& model_path);

}  // namespace hussar
