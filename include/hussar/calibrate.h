// calibrate: which ranges the activations of a model take on real data, for INT8.
//
// A program that has the data derives from Calibrator and hands them out batch by batch; hussar runs the model on them
// in FP32 and counts. The result is a calibration cache: JSON, with a hash of the model, from which the ranges of every
// method follow without the data.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/session.h"
#include "hussar/status.h"

namespace hussar {
inline namespace api {

class Calibrator {
 public:
  virtual ~Calibrator() = default;
  // How many samples a run takes, where the model leaves its first dimension open; 0: as many as a batch has.
  virtual int batch_size() const { return 1; }
  // Sets `inputs` to the next batch, every input of the model by its name; false when there is none. The first
  // dimension counts samples. The tensors and names must stay valid until the next call.
  virtual Result<bool> next_batch(std::vector<NamedTensor>& inputs) = 0;
  // What write_cache() was given in an earlier run, or a calibration cache of TensorRT; "": there is none. A complete
  // cache of this model saves the run, one that was cut off is gone on with, one of another model is an error.
  virtual Result<std::string> read_cache() { return std::string(); }
  // Called at the end, and now and then before with what was counted so far.
  virtual Status write_cache(std::string_view /*cache*/) { return {}; }
};

struct CalibrateOptions {
  std::string shapes;  // as CompileOptions::shapes
  int threads = 0;     // 0: one per core
  // "auto", "entropy", "minmax", "mse", "percentile" (99.99 %), "percentile99.9", "percentile99.999"
  std::string method = "auto";
  // Of weights to INT8: "nearest", each for itself, or "adaptive", up or down so that the outputs on the data are
  // closest, which takes longer.
  std::string rounding = "nearest";
  int fewest_samples = 8;
  // Told what the user should know: suspicious preprocessing, few samples.
  std::function<void(std::string_view text)> warning;
};

struct QdqOptions {
  std::string shapes;                   // those of the calibration
  std::string activations = "uint8";    // with the ranges of the calibration; or "int8", symmetric around zero
  std::vector<std::string> fp32_nodes;  // names of ONNX nodes that stay as they are
};

// The calibration cache, as it also went to write_cache().
Result<std::string> calibrate(const std::string& model_path, Calibrator& calibrator,
                              const CalibrateOptions& options = {});

// Writes the ONNX model with QuantizeLinear and DequantizeLinear before its products and with INT8 weights, for other
// compilers. `cache` is a complete one of this model, or one of TensorRT. Gives how many products are quantized.
Result<int64_t> export_qdq(const std::string& model_path, std::string_view cache, const std::string& output_path,
                           const QdqOptions& options = {});

}  // namespace api
}  // namespace hussar
