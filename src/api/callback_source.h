// The batches of a public Calibrator as a DataSource. Included after api/core.h.
#pragma once
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "hussar/calibrate.h"

namespace hussar {
inline namespace api {

class CallbackSource : public DataSource {
 public:
  explicit CallbackSource(Calibrator& calibrator) : calibrator_(calibrator) {}
  Result<bool> next(DataBatch& batch) override {
    std::vector<NamedTensor> inputs;
    if (!HUSSAR_TRY(calibrator_.next_batch(inputs))) return false;
    batch.tensors.clear();
    for (const NamedTensor& input : inputs) batch.tensors.emplace_back(std::string(input.name), input.tensor);
    return true;
  }

 private:
  Calibrator& calibrator_;
};

}  // namespace api
}  // namespace hussar
