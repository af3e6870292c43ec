// Matching data to a model's inputs.
#include "compile/calibration_data.h"

#include <fmt/format.h>
#include <sys/mman.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "tensor/convert.h"
#include "tensor/finite.h"

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
  if (tensor.dtype() == DType::kFloat32 && are_finite({tensor.data<float>(), static_cast<size_t>(tensor.elements())}))
    return {};
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

void drop_pages(std::span<const std::byte> mapped) {
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = (begin + mapped.size()) / kPage * kPage;
  if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::vector<DataRun> single_samples(const DataRun& run) {
  std::vector<DataRun> singles(static_cast<size_t>(run.samples));
  for (size_t i = 0; i < singles.size(); ++i) {
    for (const Tensor& tensor : run.inputs) singles[i].inputs.push_back(rows_of(tensor, static_cast<int64_t>(i), 1));
    singles[i].where = run.where;
    singles[i].hash = hash_of(singles[i].inputs, 1);
    if (!run.labels.empty()) singles[i].labels = {run.labels[i]};
  }
  return singles;
}

Result<BatchCutter> BatchCutter::create(const std::vector<InputFacts>& inputs, const DataBatch& batch,
                                        const CutOptions& options) {
  BatchCutter cutter(inputs, batch);
  cutter.tensors_ = HUSSAR_TRY(match(inputs, batch));
  HUSSAR_TRY(cutter.plan(options));
  return cutter;
}

// Cutting needs that all inputs have as many rows, and that the model agrees on how many a run may have.
Status BatchCutter::plan(const CutOptions& options) {
  const std::vector<InputFacts>& inputs = *inputs_;
  const std::string& where = batch_->where;
  int64_t rows = 0, fixed = 0;
  is_cut_ = true;
  for (size_t i = 0; i < inputs.size() && is_cut_; ++i) {
    is_cut_ = inputs[i].dims && tensors_[i].shape().rank() > 0;
    if (!is_cut_) break;
    const Dim& first = (*inputs[i].dims)[0];
    int64_t here = tensors_[i].shape()[0], wanted = first.is_constant() ? first.value() : 0;
    is_cut_ = i == 0 || (here == rows && wanted == fixed);
    rows = here;
    fixed = wanted;
  }
  if (!is_cut_) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      bool is_fixed = inputs[i].dims && !inputs[i].dims->empty() && (*inputs[i].dims)[0].is_constant();
      HUSSAR_CHECK(!is_fixed || (*inputs[i].dims)[0].value() == tensors_[i].shape()[0], ErrorCode::kUsage,
                   "{}: '{}' has shape {}; the model takes {}", where, inputs[i].name, tensors_[i].shape().to_string(),
                   describe(inputs));
    }
    return {};
  }
  HUSSAR_CHECK(rows > 0, ErrorCode::kUsage, "{}: there are no samples in it (the first dimension is 0)", where);
  HUSSAR_CHECK(rows >= fixed, ErrorCode::kUsage, "{}: {} samples where the model takes {} at a time ({})", where, rows,
               fixed, describe(inputs));
  per_run_ = fixed > 0 ? fixed : options.samples_per_run > 0 ? options.samples_per_run : rows;
  left_out_ = fixed > 0 ? rows % fixed : 0;
  rows_ = rows - left_out_;
  return {};
}

Result<std::optional<DataRun>> BatchCutter::next() {
  if (next_ == rows_) return std::optional<DataRun>();
  DataRun run;
  run.where = batch_->where;
  if (is_cut_) {
    run.samples = std::min(per_run_, rows_ - next_);
    if (rows_ > 1) run.where += fmt::format(", sample {}", next_);
    for (const Tensor& tensor : tensors_) {
      run.inputs.push_back(rows_of(tensor, next_, run.samples));
      const size_t bytes = run.inputs.back().bytes();
      if (batch_->is_mapped)
        drop_pages({tensor.raw() + bytes / static_cast<size_t>(run.samples) * static_cast<size_t>(next_), bytes});
    }
  } else {
    for (const Tensor& tensor : tensors_) run.inputs.push_back(tensor.clone());
  }
  next_ += run.samples;
  for (size_t i = 0; i < inputs_->size(); ++i) HUSSAR_TRY(check_finite((*inputs_)[i], run.inputs[i], run.where));
  run.hash = hash_of(run.inputs, run.samples);
  return std::optional<DataRun>(std::move(run));
}

Result<std::optional<DataRun>> RunReader::next_run() {
  for (;;) {
    if (cutter_) {
      if (auto run = HUSSAR_TRY(cutter_->next())) return run;
      left_out_ += cutter_->left_out();
      begin_ = end_;
      cutter_.reset();
    }
    batch_ = {};
    is_done_ = is_done_ || !HUSSAR_TRY(data_.next(batch_));
    if (is_done_) return std::optional<DataRun>();
    if (batch_.where.empty()) batch_.where = fmt::format("batch {}", batches_);
    ++batches_;
    end_ = data_.fraction();
    cutter_ = HUSSAR_TRY(BatchCutter::create(inputs_, batch_, options_));
  }
}

RunGroup RunReader::next(size_t most) {
  constexpr size_t kMostBytes = size_t(16) << 20;
  RunGroup group;
  for (size_t bytes = 0; group.runs.size() < most && bytes < kMostBytes;) {
    auto run = next_run();
    if (!run) group.error = std::move(run.error());
    if (!run || !*run) break;
    for (const Tensor& input : (*run)->inputs) bytes += input.bytes();
    group.runs.push_back(std::move(**run));
  }
  if (cutter_ && end_ >= 0) group.fraction = begin_ + (end_ - begin_) * cutter_->fraction();
  return group;
}

}  // namespace hussar
