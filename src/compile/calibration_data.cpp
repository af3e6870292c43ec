// Matching data to a model's inputs.
#include "compile/calibration_data.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// The tensors in the order of the inputs, each with the rank of its input.
Result<std::vector<Tensor>> match(const std::vector<InputFacts>& inputs, const DataBatch& batch) {
  std::vector<Tensor> matched(inputs.size());
  for (const auto& [name, tensor] : batch.tensors) {
    size_t index = 0;
    while (index < inputs.size() && inputs[index].name != name) ++index;
    // numpy.savez calls what has no name arr_0.
    if (index == inputs.size() && inputs.size() == 1 && (name.empty() || name == "arr_0")) index = 0;
    HUSSAR_CHECK(index < inputs.size(), ErrorCode::kUsage, "{}: there is no input '{}'; the model takes {}",
                 batch.where, name, describe(inputs));
    const InputFacts& input = inputs[index];
    HUSSAR_CHECK(!matched[index].valid(), ErrorCode::kUsage, "{}: input '{}' is given twice", batch.where, input.name);
    HUSSAR_CHECK(tensor.dtype() == input.dtype, ErrorCode::kUsage, "{}: '{}' is {}; the model takes {}", batch.where,
                 input.name, dtype_name(tensor.dtype()), describe(inputs));
    Shape shape = tensor.shape();
    if (input.dims && shape.rank() + 1 == static_cast<int>(input.dims->size())) {
      Shape batched({1});
      for (int64_t dim : shape) batched.push_back(dim);
      shape = batched;
    }
    bool fits = !input.dims || shape.rank() == static_cast<int>(input.dims->size());
    for (int axis = 1; fits && input.dims && axis < shape.rank(); ++axis) {
      const Dim& dim = (*input.dims)[static_cast<size_t>(axis)];
      fits = !dim.is_constant() || dim.value() == shape[axis];
    }
    HUSSAR_CHECK(fits, ErrorCode::kUsage,
                 "{}: '{}' has shape {}; the model takes {}, and the first dimension counts "
                 "samples",
                 batch.where, input.name, tensor.shape().to_string(), describe(inputs));
    matched[index] = tensor.reshaped(shape);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    HUSSAR_CHECK(matched[i].valid(), ErrorCode::kUsage, "{}: input '{}' is missing; the model takes {}", batch.where,
                 inputs[i].name, describe(inputs));
  }
  return matched;
}

struct Cut {
  int64_t rows = 0;     // samples of the batch; 0: the batch is one sample as it is
  int64_t per_run = 1;  // how many of them a run takes
};

// Cutting needs that all inputs have as many rows, and that the model agrees on how many a run may have.
Result<Cut> plan_cut(const std::vector<InputFacts>& inputs, const std::vector<Tensor>& tensors, const DataBatch& batch,
                     const CutOptions& options) {
  Cut cut;
  int64_t fixed = 0;
  bool alike = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    alike = alike && inputs[i].dims && tensors[i].shape().rank() > 0;
    if (!alike) break;
    const Dim& first = (*inputs[i].dims)[0];
    int64_t rows = tensors[i].shape()[0], wanted = first.is_constant() ? first.value() : 0;
    alike = (i == 0 || (rows == cut.rows && wanted == fixed));
    cut.rows = rows;
    fixed = wanted;
  }
  for (size_t i = 0; i < inputs.size() && !alike; ++i) {
    const bool has_first = inputs[i].dims && !inputs[i].dims->empty() && (*inputs[i].dims)[0].is_constant();
    HUSSAR_CHECK(!has_first || (*inputs[i].dims)[0].value() == tensors[i].shape()[0], ErrorCode::kUsage,
                 "{}: '{}' has shape {}; the model takes {}", batch.where, inputs[i].name,
                 tensors[i].shape().to_string(), describe(inputs));
  }
  if (!alike) return Cut{0, 1};
  HUSSAR_CHECK(cut.rows > 0, ErrorCode::kUsage, "{}: there are no samples in it (the first dimension is 0)",
               batch.where);
  cut.per_run = fixed > 0 ? fixed : options.samples_per_run > 0 ? options.samples_per_run : cut.rows;
  HUSSAR_CHECK(fixed == 0 || cut.rows >= fixed, ErrorCode::kUsage,
               "{}: {} samples where the model takes {} at a time ({})", batch.where, cut.rows, fixed,
               describe(inputs));
  return cut;
}

// Aligned memory of its own: kernels count on it, and files keep tensors anywhere.
Tensor rows_of(const Tensor& tensor, int64_t first, int64_t count) {
  Shape shape = tensor.shape();
  const size_t row_bytes = shape[0] > 0 ? tensor.bytes() / static_cast<size_t>(shape[0]) : 0;
  shape[0] = count;
  Tensor rows(tensor.dtype(), shape);
  if (rows.bytes() > 0) std::memcpy(rows.raw(), tensor.raw() + row_bytes * static_cast<size_t>(first), rows.bytes());
  return rows;
}

Status check_finite(const InputFacts& input, const Tensor& tensor, const std::string& where) {
  if (!is_floating(tensor.dtype())) return {};
  constexpr int64_t kChunk = 1024;
  float values[kChunk];
  for (int64_t first = 0; first < tensor.elements(); first += kChunk) {
    int64_t count = std::min(kChunk, tensor.elements() - first);
    load_elements<float>(tensor, first, count, values);
    for (int64_t i = 0; i < count; ++i) {
      HUSSAR_CHECK(std::isfinite(values[i]), ErrorCode::kUsage,
                   "{}: input '{}' is {} at element {}; calibration needs finite data", where, input.name, values[i],
                   first + i);
    }
  }
  return {};
}

uint64_t hash_of(const std::vector<Tensor>& inputs, int64_t samples) {
  uint64_t sum = 0;
  for (int64_t sample = 0; sample < samples; ++sample) {
    uint64_t hash = 0;
    for (const Tensor& tensor : inputs) {
      size_t bytes = tensor.bytes() / static_cast<size_t>(samples);
      hash = XXH3_64bits_withSeed(tensor.raw() + bytes * static_cast<size_t>(sample), bytes, hash + bytes);
    }
    sum += hash;
  }
  return sum;
}

}  // namespace

Result<std::vector<DataRun>> cut_batch(const std::vector<InputFacts>& inputs, const DataBatch& batch,
                                       const CutOptions& options, int64_t& left_out) {
  std::vector<Tensor> tensors = HUSSAR_TRY(match(inputs, batch));
  const Cut cut = HUSSAR_TRY(plan_cut(inputs, tensors, batch, options));
  std::vector<DataRun> runs;
  auto add = [&](std::vector<Tensor> run_inputs, int64_t samples, const std::string& where) -> Status {
    for (size_t i = 0; i < inputs.size(); ++i) HUSSAR_TRY(check_finite(inputs[i], run_inputs[i], where));
    uint64_t hash = hash_of(run_inputs, samples);
    runs.push_back({std::move(run_inputs), samples, where, hash});
    return {};
  };
  if (cut.rows == 0) {
    for (Tensor& tensor : tensors) tensor = tensor.clone();
    HUSSAR_TRY(add(std::move(tensors), 1, batch.where));
    return runs;
  }
  bool is_fixed = (*inputs[0].dims)[0].is_constant();
  for (int64_t first = 0; first < cut.rows; first += cut.per_run) {
    int64_t count = std::min(cut.per_run, cut.rows - first);
    if (is_fixed && count < cut.per_run) {
      left_out += count;
      break;
    }
    std::vector<Tensor> rows;
    for (const Tensor& tensor : tensors) rows.push_back(rows_of(tensor, first, count));
    HUSSAR_TRY(
        add(std::move(rows), count, cut.rows == 1 ? batch.where : fmt::format("{}, sample {}", batch.where, first)));
  }
  return runs;
}

}  // namespace hussar
