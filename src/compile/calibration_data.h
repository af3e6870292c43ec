// What calibration runs a model on: batches from anywhere, cut into runs that fit the model.
#pragma once
#include <cstdint>
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
  std::string where;  // for messages
  uint64_t hash = 0;  // the sum of the hashes of its samples: the same for any order and any cut
};

struct CutOptions {
  // The first dimension counts samples. Where the model leaves it open, a run takes so many of them, 0: all of a batch.
  int64_t samples_per_run = 1;
};

// The runs of a batch, checked: names, dtypes, shapes, and that floats are finite. `left_out` grows by the samples at
// the end that do not fill a run of a model whose first dimension is fixed.
Result<std::vector<DataRun>> cut_batch(const std::vector<InputFacts>& inputs, const DataBatch& batch,
                                       const CutOptions& options, int64_t& left_out);

}  // namespace hussar
