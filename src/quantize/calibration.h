// Calibration: what is known of the activations of one model on some data, and the ranges that follow.
//
// Tensors go by the names of the values of the graph that was run: those of the ONNX file, as a rule.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "graph/graph.h"
#include "hussar/status.h"
#include "quantize/range.h"
#include "quantize/statistics.h"
#include "tensor/quant_params.h"

namespace hussar {

struct TensorCalibration {
  Statistics statistics;  // without elements: nothing is known but the range
  Range range;            // for kUInt8, by Calibration::method
  // By method of range: the squared error of what the products that read the tensor give, in parts of their power, on a
  // few samples. Empty when no product with an INT8 form reads it.
  std::map<Method, double> output_errors;
  // Of what products and attention alone read, along axis 1 of channels-last and along the last axis else; else empty.
  std::vector<float> channel_min, channel_max;
};
// What kAuto is for the tensor: the method of least output error, if it is clearly less than without clipping; kMse
// where errors are not known.
Method automatic_method(const TensorCalibration& tensor);

// Of a product with constant weights that has an INT8 form.
struct ProductCalibration {
  // Int8Weights::fingerprint() and quantization of the input that the rest is true of.
  std::string weights;
  float scale = 1;
  int32_t zero_point = 0;
  // One bit per weight, for those that are not rounded to the nearest integer (flip_roundings). Empty: all are.
  std::vector<uint8_t> flips;
  // The mean error of the output per channel, negated: what its bias gains. Empty: that would not help.
  std::vector<float> bias;
  // Squared error of the output in parts of its power: with all weights rounded to the nearest integer, with the flips,
  // and with these and the bias.
  double nearest_error = 0, error = 0, corrected_error = 0;
};

// Of a value that is divided per channel, the weights of the products that read it multiplied by the same.
struct Smoothing {
  std::vector<float> divisors;
  double alpha = 0;
  Range range;  // for kUInt8, of what is divided
  // As TensorCalibration::output_errors, without and with it.
  double error = 0, smoothed_error = 0;
};

// How weights become integers.
enum class Rounding {
  kNearest,   // each for itself
  kAdaptive,  // up or down, so that the outputs of the product are closest
};
std::string_view rounding_name(Rounding rounding);
std::optional<Rounding> rounding_from_name(std::string_view name);

struct Calibration {
  std::string model;       // file name, for messages
  std::string model_hash;  // model_fingerprint(); "" where the ranges come from elsewhere
  std::string data_hash;   // DataFingerprint
  int64_t samples = 0;
  bool is_complete = true;  // false: it was cut off, and can be gone on with
  Method method = Method::kAuto;
  Rounding rounding = Rounding::kNearest;
  std::map<std::string, TensorCalibration> tensors;
  std::map<std::string, ProductCalibration> products;  // by the name of the output
  std::map<std::string, Smoothing> smoothings;         // by the name of the value
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
