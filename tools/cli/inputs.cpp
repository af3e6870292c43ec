// Loading and matching inputs.
#include "tools/cli/inputs.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "tensor/convert.h"
#include "tools/cli/npy.h"

namespace hussar::cli {
namespace {

Result<Tensor> load_raw(const std::string& path) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  Tensor tensor(DType::kUInt8, {static_cast<int64_t>(file->bytes().size())});
  if (tensor.bytes() > 0) std::memcpy(tensor.raw(), file->bytes().data(), tensor.bytes());
  return tensor;
}

// Types that NumPy lacks travel as unsigned integers of the same size.
bool can_stand_for(DType stored, DType wanted) {
  bool bits = stored == DType::kUInt16 || stored == DType::kUInt8 || stored == DType::kInt8;
  bool exotic = wanted == DType::kBFloat16 || wanted > DType::kBFloat16;
  return bits && exotic && dtype_size(stored) == dtype_size(wanted);
}

Result<Tensor> fit(const InputFacts& input, const LoadedInput& loaded, const Shape& shape) {
  const Tensor& tensor = loaded.tensor;
  if (loaded.is_raw) {
    size_t wanted = static_cast<size_t>(shape.elements()) * dtype_size(input.dtype);
    HUSSAR_CHECK(tensor.bytes() == wanted, ErrorCode::kUsage, "'{}' has {} bytes; input '{}' ({}, shape {}) takes {}",
                 loaded.path, tensor.bytes(), input.name, dtype_name(input.dtype), shape.to_string(), wanted);
    Tensor typed(input.dtype, shape);
    if (wanted > 0) std::memcpy(typed.raw(), tensor.raw(), wanted);
    return typed;
  }
  if (tensor.dtype() != input.dtype && can_stand_for(tensor.dtype(), input.dtype)) {
    return tensor.reinterpreted(input.dtype);
  }
  HUSSAR_CHECK(tensor.dtype() == input.dtype, ErrorCode::kUsage, "'{}' holds {}; the model takes {}", loaded.path,
               dtype_name(tensor.dtype()), describe({input}));
  return tensor;
}

}  // namespace

Result<LoadedInputs> load_inputs(const std::vector<std::string>& words) {
  LoadedInputs loaded;
  for (const std::string& word : words) {
    if (word.ends_with(".npz") && word.find('=') == std::string::npos) {
      for (auto& [name, tensor] : HUSSAR_TRY(read_npz_file(word))) loaded[name] = {tensor, word, false};
      continue;
    }
    // Names may contain '=', paths rarely do.
    size_t equals = word.rfind('=');
    HUSSAR_CHECK(equals != std::string::npos && equals > 0, ErrorCode::kUsage,
                 "'{}' is not NAME=FILE.npy, NAME=FILE.raw or FILE.npz", word);
    std::string name = word.substr(0, equals), path = word.substr(equals + 1);
    HUSSAR_CHECK(loaded.count(name) == 0, ErrorCode::kUsage, "input '{}' is given twice", name);
    if (path.ends_with(".npy"))
      loaded[name] = {HUSSAR_TRY(read_npy_file(path)), path, false};
    else if (path.ends_with(".raw") || path.ends_with(".bin"))
      loaded[name] = {HUSSAR_TRY(load_raw(path)), path, true};
    else
      return fail(ErrorCode::kUsage, "'{}' is neither an .npy nor a .raw or .bin file", path);
  }
  return loaded;
}

NamedShapes shapes_of(const LoadedInputs& loaded) {
  NamedShapes shapes;
  for (const auto& [name, input] : loaded) {
    if (!input.is_raw) shapes[name] = Dims(input.tensor.shape().begin(), input.tensor.shape().end());
  }
  return shapes;
}

Result<std::vector<Tensor>> match_inputs(const std::vector<InputFacts>& inputs, const LoadedInputs& loaded,
                                         const InputChoice& choice) {
  NamedShapes given = choice.shapes;
  for (auto& [name, dims] : shapes_of(loaded)) given[name] = dims;
  for (const auto& [name, input] : loaded) {
    bool known = false;
    for (const InputFacts& facts : inputs) known = known || facts.name == name;
    HUSSAR_CHECK(known, ErrorCode::kUsage, "there is no input '{}'; the model takes {}", name, describe(inputs));
  }
  std::vector<InputFacts> missing;
  for (const InputFacts& facts : inputs) {
    if (loaded.count(facts.name) == 0) missing.push_back(facts);
  }
  HUSSAR_CHECK(missing.empty() || choice.random, ErrorCode::kUsage,
               "missing inputs: {}; give each with --input NAME=FILE.npy", describe(missing));
  std::vector<Shape> shapes = HUSSAR_TRY(choose_shapes(inputs, given));
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto it = loaded.find(inputs[i].name);
    if (it != loaded.end())
      tensors.push_back(HUSSAR_TRY(fit(inputs[i], it->second, shapes[i])));
    else
      tensors.push_back(random_input(inputs[i], shapes[i], choice.seed));
  }
  return tensors;
}

int64_t count_non_finite(const Tensor& tensor) {
  if (!is_floating(tensor.dtype())) return 0;
  constexpr int64_t kChunk = 1024;
  double values[kChunk];
  int64_t found = 0;
  for (int64_t first = 0; first < tensor.elements(); first += kChunk) {
    int64_t count = std::min(kChunk, tensor.elements() - first);
    load_elements<double>(tensor, first, count, values);
    for (int64_t i = 0; i < count; ++i) found += std::isfinite(values[i]) ? 0 : 1;
  }
  return found;
}

}  // namespace hussar::cli
