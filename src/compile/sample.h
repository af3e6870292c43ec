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
  // Integers that are made up are less than this: the rows of the tables that they are indices of (index_bounds.h).
  int64_t below = 2;
};
std::vector<InputFacts> input_facts(const PlanGraph& graph);
std::vector<InputFacts> input_facts(const Graph& graph);
// "x:float32[1x3xHxW]" per input, separated by commas; for messages.
std::string describe(const std::vector<InputFacts>& inputs);

// The shape of every input: as `given` where given, else as the model fixes it, else small sensible sizes (1 for the
// first dimension, 3 channels and 64 x 64 pixels for rank 4, 16 otherwise). Equal symbols get equal sizes.
Result<std::vector<Shape>> choose_shapes(const std::vector<InputFacts>& inputs, const NamedShapes& given);

// Floats are uniform in [-1, 1); integers in [0, below): 0 or 1, valid as small indices, masks and flags, where nothing
// says more, and rows of a vocabulary where they index one; but 8-bit blocks of rank 3 and more (pictures) are in
// [0, 128). What says what is padding has tokens first, at least one. The same seed, name, shape and bound give the
// same bytes.
Tensor random_tensor(const std::string& name, DType dtype, const Shape& shape, uint64_t seed, int64_t below = 2);
Tensor random_input(const InputFacts& input, const Shape& shape, uint64_t seed);
Result<std::vector<Tensor>> random_inputs(const std::vector<InputFacts>& inputs, const NamedShapes& given,
                                          uint64_t seed);

}  // namespace hussar
