// Tensors from the command line: --input and --load-inputs.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "compile/sample.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar::cli {

// What a file gave: a tensor, or bytes whose dtype and shape the model tells.
struct LoadedInput {
  Tensor tensor;
  std::string path;
  bool is_raw = false;
};
using LoadedInputs = std::map<std::string, LoadedInput>;

// Each word is NAME=FILE.npy, NAME=FILE.raw (or .bin: the elements alone), or FILE.npz.
Result<LoadedInputs> load_inputs(const std::vector<std::string>& words);

// The shapes of what was loaded, for models that leave theirs open.
NamedShapes shapes_of(const LoadedInputs& loaded);

// Tensors in the order of `inputs`. Every input must be there unless random ones may stand in (`seed`); unknown names,
// wrong dtypes and shapes are errors that say what the model takes.
struct InputChoice {
  NamedShapes shapes;
  bool random = false;
  uint64_t seed = 1;
};
Result<std::vector<Tensor>> match_inputs(const std::vector<InputFacts>& inputs, const LoadedInputs& loaded,
                                         const InputChoice& choice);

// The number of elements that are NaN or infinite.
int64_t count_non_finite(const Tensor& tensor);

}  // namespace hussar::cli
