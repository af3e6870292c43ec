// What calibration runs a model on: batches from anywhere, cut into runs that fit the model.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "compile/sample.h"
#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar {

// Tensors by the names of the model's inputs; a single one for a model with one input may be nameless.
struct DataBatch {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::string where;  // "images/0001.png", "batch 3": for messages
  // The tensors view a mapped file. What has been read of it may leave memory again, so that large files do not fill
  // it.
  bool is_mapped = false;
};

class DataSource {
 public:
  virtual ~DataSource() = default;
  // False when there are no more. The tensors need not outlive the next call.
  virtual Result<bool> next(DataBatch& batch) = 0;
  // How much of the data has been handed out, 0 to 1; negative: nobody knows.
  virtual double fraction() const { return -1; }
};

struct DataRun {
  std::vector<Tensor> inputs;  // in the model's order
  int64_t samples = 1;
  std::string where;            // for messages
  uint64_t hash = 0;            // the sum of the hashes of its samples: the same for any order and any cut
  std::vector<int64_t> labels;  // the right class of each sample; empty: nobody knows
};

// Drops whole pages of a file mapping from memory; they come back from the file if they are read again.
void drop_pages(std::span<const std::byte> mapped);

// A run of several samples as runs of one.
std::vector<DataRun> single_samples(const DataRun& run);

struct CutOptions {
  // The first dimension counts samples. Where the model leaves it open, a run takes so many of them, 0: all of a batch.
  int64_t samples_per_run = 1;
};

// Cuts a batch into runs, one after another, each checked: names, dtypes, shapes, and that floats are finite.
class BatchCutter {
 public:
  // The inputs and the batch must outlive the cutter.
  static Result<BatchCutter> create(const std::vector<InputFacts>& inputs, const DataBatch& batch,
                                    const CutOptions& options);
  // nullopt: there are no more.
  Result<std::optional<DataRun>> next();
  // How much has been handed out, 0 to 1.
  double fraction() const { return static_cast<double>(next_) / static_cast<double>(rows_); }
  // The samples at the end that do not fill a run of a model whose first dimension is fixed.
  int64_t left_out() const { return left_out_; }

 private:
  BatchCutter(const std::vector<InputFacts>& inputs, const DataBatch& batch) : inputs_(&inputs), batch_(&batch) {}
  Status plan(const CutOptions& options);

  const std::vector<InputFacts>* inputs_;
  const DataBatch* batch_;
  std::vector<Tensor> tensors_;  // in the order of the inputs, with their ranks
  bool is_cut_ = false;          // rows are samples; else the batch is one sample as it is
  int64_t rows_ = 1, per_run_ = 1, next_ = 0, left_out_ = 0;
};

// Some runs of the data, in order.
struct RunGroup {
  std::vector<DataRun> runs;
  double fraction = -1;        // of the data has been handed out with them; negative: nobody knows
  std::optional<Error> error;  // why there are no more
};

// All data as runs.
class RunReader {
 public:
  // The source and the inputs must outlive the reader.
  RunReader(DataSource& data, const std::vector<InputFacts>& inputs, const CutOptions& options)
      : data_(data), inputs_(inputs), options_(options) {}
  // The next runs, `most` of them or as many as have 16 MB. None and no error: there are no more.
  RunGroup next(size_t most);
  // As BatchCutter::left_out(), of all batches so far.
  int64_t left_out() const { return left_out_; }

 private:
  Result<std::optional<DataRun>> next_run();

  DataSource& data_;
  const std::vector<InputFacts>& inputs_;
  CutOptions options_;
  DataBatch batch_;
  std::optional<BatchCutter> cutter_;  // of the batch
  double begin_ = 0, end_ = 0;         // which part of the data the batch is
  int64_t batches_ = 0, left_out_ = 0;
  bool is_done_ = false;  // a source is not asked again when it had no more
};

}  // namespace hussar
