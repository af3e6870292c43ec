// What a plan that leaves out padding (the pass pack_tokens) makes of its inputs and outputs.
#pragma once
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "hussar/tensor.h"
#include "plan/plan.h"

namespace hussar {

struct PackedRows {
  size_t mask = 0;  // which input of the plan says what is padding
  bool inverted = false;
  std::vector<bool> are_packed;  // per output: rows of padding are zeros
};

// nullopt: nothing is left out, or no input of the plan says what is padding but a value that the plan computes.
std::optional<PackedRows> packed_rows(const PlanGraph& graph);
bool leaves_out_padding(const PlanGraph& graph);

// Names of values whose rows stand in another order than in the model.
std::set<std::string> packed_tensors(const PlanGraph& graph);

// The outputs of a plan that computes all rows, as this one has them.
void clear_padding(const PackedRows& rows, std::span<const Tensor> inputs, std::span<Tensor> outputs);

}  // namespace hussar
