#include "compile/quantization.h"

#include "compile/fp8.h"
#include "quantize/calibration_file.h"
#include "quantize/trt_cache.h"

namespace hussar {

std::shared_ptr<Quantization> quantization_of(const Calibration& calibration, Method method,
                                              const std::vector<std::string>& fp32_nodes) {
  auto quantization = std::make_shared<Quantization>();
  for (const auto& [name, params] : activation_params(calibration, method)) quantization->activations[name] = params;
  for (const auto& [name, tensor] : calibration.tensors) {
    if (!tensor.channel_min.empty()) quantization->channels[name] = {tensor.channel_min, tensor.channel_max};
  }
  for (const auto& [name, product] : calibration.products) {
    if (product.bias.empty() && product.flips.empty()) continue;
    const QuantParams input{product.scale, product.zero_point, DType::kUInt8};
    quantization->corrections[name] = {product.weights, input, product.flips, product.bias};
  }
  for (const auto& [name, smoothing] : calibration.smoothings) {
    quantization->divisors[name] = smoothing.divisors;
    quantization->activations[Quantization::smoothed_name(name)] = params_of(smoothing.range, DType::kUInt8);
  }
  for (const std::string& node : fp32_nodes) quantization->float_nodes[node] = kAskedFor;
  return quantization;
}

std::shared_ptr<Quantization> dynamic_quantization(const std::vector<std::string>& fp32_nodes, bool row_scales) {
  std::shared_ptr<Quantization> quantization = quantization_of({}, Method::kAuto, fp32_nodes);
  quantization->is_dynamic = true;
  quantization->row_scales = row_scales;
  return quantization;
}

std::shared_ptr<Quantization> fp8_quantization_of(const Calibration& calibration, Method method,
                                                  const std::vector<std::string>& fp32_nodes) {
  return in_fp8(*quantization_of(calibration, method == Method::kAuto ? Method::kMinMax : method, fp32_nodes));
}

Result<Calibration> decode_calibration_or_trt_cache(std::string_view text, const std::string& name) {
  return text.starts_with("TRT-") ? decode_trt_cache(text, name) : decode_calibration(text, name);
}

}  // namespace hussar
