// Inputs made up for a model: concrete shapes for symbolic dimensions, and seeded random contents.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compile/spelling.h"
#include "graph/graph.h"
#include "hussar/status.h"
#include "hussar/tensor.h"
#include "plan/plan.h"

namespace hussar {

// What a model says about one of its inputs.
struct InputFacts {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<Dims> dims;
  // It says what is padding, and the plan leaves that out: 1 where there are tokens, or 0.
  enum class Mask { kNone, kTokens, kPadding } mask = Mask::kNone;
};
std::vector<InputFacts> input_facts(const PlanGraph& graph);
std::vector<InputFacts> input_facts(const Graph& graph);
// "x:float32[1x3xHxW]" per input, separated by commas; for messages.
std::string describe(const std::vector<InputFacts>& inputs);

// The shape of every input: as `given` where given, else as the model fixes it, else small sensible sizes (1 for the
// first dimension, 3 channels and 64 x 64 pixels for rank 4, 16 otherwise). Equal symbols get equal sizes.
Result<std::vector<Shape>> choose_shapes(const std::vector<InputFacts>& inputs, const NamedShapes& given);

// Floats are uniform in [-1, 1); integers are 0 or 1, valid as small indices, masks and flags, except 8-bit blocks of
// rank 3 and more (pictures), which are in [0, 128). What says what is padding has tokens first, at least one. The same
// seed, name and shape give the same bytes.
Tensor random_tensor(const std::string& name, DType dtype, const Shape& shape, uint64_t seed);
Result<std::vector<Tensor>> random_inputs(const std::vector<InputFacts>& inputs, const NamedShapes& given,
                                          uint64_t seed);

}  // namespace hussar
