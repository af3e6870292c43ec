// Calibration: what is known of the activations of one model on some data, and the ranges that follow.
//
// Tensors go by the names of the values of the graph that was run: those of the ONNX file, as a rule.
#pragma once
#include <map>
#include <string>

#include "graph/graph.h"
#include "hussar/status.h"
#include "quantize/range.h"
#include "quantize/statistics.h"
#include "tensor/quant_params.h"

namespace hussar {

struct TensorCalibration {
  Statistics statistics;  // without elements: nothing is known but the range
  Range range;            // for kUInt8, by Calibration::method
};

struct Calibration {
  std::string model;       // file name, for messages
  std::string model_hash;  // model_fingerprint(); "" where the ranges come from elsewhere
  std::string data_hash;   // DataFingerprint
  int64_t samples = 0;
  bool is_complete = true;  // false: it was cut off, and can be gone on with
  Method method = Method::kAuto;
  std::map<std::string, TensorCalibration> tensors;
};

// Chooses the range of every tensor again. No data are needed.
void decide(Calibration& calibration, Method method);

// The quantization of every tensor, by value name. dtype: kUInt8, asymmetric, or kInt8, symmetric.
std::map<std::string, QuantParams> activation_params(const Calibration& calibration, Method method,
                                                     DType dtype = DType::kUInt8);

// A hash of everything in the model that decides its numbers, external data included; 16 hexadecimal digits.
std::string model_fingerprint(const Graph& imported);

// Fails unless the calibration is complete and of the model with this fingerprint. `path` is for the message.
Status check_is_of_model(const Calibration& calibration, const std::string& fingerprint, const std::string& path);

}  // namespace hussar
