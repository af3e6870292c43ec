// Export of a calibrated model as ONNX with QuantizeLinear and DequantizeLinear: what the user's own file becomes for
// other compilers, which want every quantization written down.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "compile/compile.h"
#include "hussar/status.h"
#include "quantize/calibration.h"

namespace hussar {

struct QdqOptions {
  NamedShapes shapes;  // those of the calibration
  // kUInt8, with the ranges of the calibration; or kInt8, symmetric around zero.
  DType activations = DType::kUInt8;
  // By name of ONNX nodes, as CompileOptions::fp32_nodes.
  std::vector<std::string> fp32_nodes;
};

struct QdqReport {
  int64_t quantized = 0;  // products
  int64_t inputs = 0;     // tensors that they read
  int64_t corrected_biases = 0, smoothed = 0, smoothings_left_out = 0;
  int64_t opset = 0, opset_before = 0;
  uint64_t bytes = 0;
  // Products that stay in FP32, by node, and why.
  std::vector<std::pair<std::string, std::string>> left_out;
};

// Fails as export_qdq would at once, whatever the calibration. For work that it comes after.
Status check_can_export_qdq(const std::string& model_path, const std::string& output_path);

// Writes the model at `model_path` to `output_path`. Only products whose input has a range change: what they read is
// quantized, once for all of them; their weights are INT8, the same that hussar computes with. `calibration_name` is
// for messages.
Result<QdqReport> export_qdq(const std::string& model_path, const Calibration& calibration,
                             const std::string& calibration_name, const std::string& output_path,
                             const QdqOptions& options);

}  // namespace hussar
