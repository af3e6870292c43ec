// Making up inputs.
#include "compile/sample.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "compile/index_bounds.h"
#include "compile/packed_rows.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

using Sizes = std::map<std::string, int64_t, std::less<>>;

int64_t default_size(size_t rank, size_t axis) {
  if (axis == 0) return 1;
  if (rank == 4) return axis == 1 ? 3 : 64;
  return 16;
}

// SplitMix64 (Steele, Lea, Flood 2014): any seed gives a good sequence.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::string describe(const InputFacts& input) {
  return input.name + ":" + std::string(dtype_name(input.dtype)) +
         (input.dims ? "[" + to_string(*input.dims) + "]" : "[?]");
}

// Binds the symbols of `input` to the numbers of `given`.
Status bind_given(const InputFacts& input, const Dims& given, Sizes& sizes) {
  if (!input.dims) return {};
  HUSSAR_CHECK(given.size() == input.dims->size(), ErrorCode::kUsage,
               "the shape of '{}' is given {} dimensions; it is {}", input.name, given.size(), describe(input));
  for (size_t axis = 0; axis < given.size(); ++axis) {
    const Dim& dim = (*input.dims)[axis];
    if (!given[axis].is_constant() || given[axis].value() < 0) continue;
    int64_t number = given[axis].value();
    bool fits = !dim.is_constant() || dim.value() == number;
    std::vector<std::string> symbols = dim.symbols();
    if (fits && symbols.size() == 1 && dim == Dim::symbol(symbols[0])) {
      fits = sizes.emplace(symbols[0], number).first->second == number;
    }
    HUSSAR_CHECK(fits, ErrorCode::kUsage, "dimension {} of '{}' cannot be {}: the input is {}", axis, input.name,
                 number, describe(input));
  }
  return {};
}

Result<Shape> concrete_shape(const InputFacts& input, const NamedShapes& given, const Sizes& sizes) {
  auto entry = given.find(input.name);
  auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
    auto it = sizes.find(name);
    return it == sizes.end() ? std::nullopt : std::optional<int64_t>(it->second);
  };
  HUSSAR_CHECK(input.dims || entry != given.end(), ErrorCode::kUsage,
               "the model does not tell the rank of input '{}'; give its shape with --shapes {}:...", input.name,
               input.name);
  const Dims& dims = input.dims ? *input.dims : entry->second;
  Shape shape;
  int64_t bytes = static_cast<int64_t>(dtype_size(input.dtype));
  for (const Dim& dim : dims) {
    auto size = dim.evaluate(lookup);
    bool ok = size && *size >= 0 && !__builtin_mul_overflow(bytes, *size, &bytes) && bytes < (int64_t{1} << 36);
    HUSSAR_CHECK(ok, ErrorCode::kUsage, "a size for {} is unknown, negative or too large; give it with --shapes",
                 describe(input));
    shape.push_back(*size);
  }
  return shape;
}

template <class T, class Generate>
void fill(Tensor& tensor, Generate generate) {
  constexpr int64_t kChunk = 1024;
  T values[kChunk];
  for (int64_t first = 0; first < tensor.elements(); first += kChunk) {
    int64_t count = std::min(kChunk, tensor.elements() - first);
    for (int64_t i = 0; i < count; ++i) values[i] = generate();
    store_elements<T>(tensor, first, count, values);
  }
}

}  // namespace

static void add_bounds(const std::vector<std::optional<int64_t>>& bounds, std::vector<InputFacts>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].below = bounds[i].value_or(inputs[i].below);
}

std::vector<InputFacts> input_facts(const PlanGraph& graph) {
  std::vector<InputFacts> inputs;
  for (int32_t index : graph.inputs) {
    const PlanValue& value = graph.values[index];
    inputs.push_back({value.name, value.dtype, value.dims, {}});
  }
  add_bounds(index_bounds(graph), inputs);
  if (const auto rows = packed_rows(graph))
    inputs[rows->mask].mask = rows->inverted ? InputFacts::Mask::kPadding : InputFacts::Mask::kTokens;
  return inputs;
}

std::vector<InputFacts> input_facts(const Graph& graph) {
  std::vector<InputFacts> inputs;
  for (const Value* value : graph.inputs) inputs.push_back({value->name, value->dtype, value->dims, {}});
  add_bounds(index_bounds(graph), inputs);
  return inputs;
}

std::string describe(const std::vector<InputFacts>& inputs) {
  std::string text;
  for (const InputFacts& input : inputs) text += (text.empty() ? "" : ", ") + describe(input);
  return text;
}

Result<std::vector<Shape>> choose_shapes(const std::vector<InputFacts>& inputs, const NamedShapes& given) {
  Sizes sizes;
  for (const auto& [name, dims] : given) {
    const InputFacts* found = nullptr;
    for (const InputFacts& input : inputs) found = input.name == name ? &input : found;
    HUSSAR_CHECK(found != nullptr, ErrorCode::kUsage, "there is no input '{}'; the inputs are {}", name,
                 describe(inputs));
    HUSSAR_TRY(bind_given(*found, dims, sizes));
  }
  for (const InputFacts& input : inputs) {
    for (size_t axis = 0; input.dims && axis < input.dims->size(); ++axis) {
      for (const std::string& symbol : (*input.dims)[axis].symbols()) {
        sizes.emplace(symbol, default_size(input.dims->size(), axis));
      }
    }
  }
  std::vector<Shape> shapes;
  for (const InputFacts& input : inputs) shapes.push_back(HUSSAR_TRY(concrete_shape(input, given, sizes)));
  return shapes;
}

Tensor random_tensor(const std::string& name, DType dtype, const Shape& shape, uint64_t seed, int64_t below) {
  uint64_t state = seed;
  for (char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  Tensor tensor(dtype, shape);
  if (is_floating(dtype)) {
    fill<float>(tensor,
                [&] { return static_cast<float>(next_random(state) >> 40) / static_cast<float>(1 << 23) - 1.0F; });
    return tensor;
  }
  bool picture = (dtype == DType::kUInt8 || dtype == DType::kInt8) && shape.rank() >= 3;
  const uint64_t count = picture ? 128 : static_cast<uint64_t>(std::clamp<int64_t>(below, 1, INT32_MAX));
  // The upper half of each number, in parts of its range.
  fill<int64_t>(tensor, [&] { return static_cast<int64_t>((next_random(state) >> 32) * count >> 32); });
  return tensor;
}

// Sequences of random lengths, the last one of full length.
static Tensor random_mask(const InputFacts& input, const Shape& shape, uint64_t seed) {
  uint64_t state = seed + 1;
  const int64_t length = std::max<int64_t>(shape[1], 1);
  Tensor tensor(input.dtype, shape);
  int64_t at = 0, tokens = 0;
  fill<int64_t>(tensor, [&] {
    if (at % length == 0) tokens = 1 + static_cast<int64_t>(next_random(state) % static_cast<uint64_t>(length));
    if (at / length == shape[0] - 1 && shape[0] > 1) tokens = length;
    return ((at++ % length) < tokens) == (input.mask == InputFacts::Mask::kTokens) ? int64_t{1} : int64_t{0};
  });
  return tensor;
}

Tensor random_input(const InputFacts& input, const Shape& shape, uint64_t seed) {
  return input.mask != InputFacts::Mask::kNone ? random_mask(input, shape, seed)
                                               : random_tensor(input.name, input.dtype, shape, seed, input.below);
}

Result<std::vector<Tensor>> random_inputs(const std::vector<InputFacts>& inputs, const NamedShapes& given,
                                          uint64_t seed) {
  std::vector<Shape> shapes = HUSSAR_TRY(choose_shapes(inputs, given));
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    HUSSAR_CHECK(dtype_size(inputs[i].dtype) > 0, ErrorCode::kUsage, "the dtype of input '{}' is unknown",
                 inputs[i].name);
    tensors.push_back(random_input(inputs[i], shapes[i], seed));
  }
  return tensors;
}

}  // namespace hussar
