#include "compile/quantization.h"

#include <algorithm>

#include "base/error.h"
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

std::shared_ptr<Quantization> dynamic_quantization(const std::vector<std::string>& fp32_nodes) {
  std::shared_ptr<Quantization> quantization = quantization_of({}, Method::kAuto, fp32_nodes);
  quantization->is_dynamic = true;
  return quantization;
}

std::shared_ptr<Quantization> in_fp8(const Quantization& quantization) {
  auto result = std::make_shared<Quantization>(quantization);
  result->fp8 = true;
  result->corrections.clear();
  for (auto& [name, params] : result->activations) {
    const auto largest = static_cast<float>(std::max(params.zero_point, 255 - params.zero_point));
    params = {params.scale * largest / kLargestFp8, 0, kFp8};
  }
  return result;
}

std::shared_ptr<Quantization> fp8_quantization_of(const Calibration& calibration, Method method,
                                                  const std::vector<std::string>& fp32_nodes) {
  return in_fp8(*quantization_of(calibration, method == Method::kAuto ? Method::kMinMax : method, fp32_nodes));
}

Status check_fp8_target(Place place, int sm) {
  HUSSAR_CHECK(
      place == Place::kDevice, ErrorCode::kUsage,
      "FP8 is for GPUs, no CPU multiplies in it: --target cuda (or cuda:sm_90a for a GPU that is elsewhere), or "
      "INT8, which CPUs have");
  // An emulated GPU, for tests, is sm_0.
  HUSSAR_CHECK(
      sm == 0 || sm >= 89, ErrorCode::kUsage,
      "FP8 needs a GPU of compute capability 8.9 or newer (Ada, Hopper), this one has {}.{}: INT8 and FP16 are "
      "what it computes in",
      sm / 10, sm % 10);
  return {};
}

Result<Calibration> decode_calibration_or_trt_cache(std::string_view text, const std::string& name) {
  return text.starts_with("TRT-") ? decode_trt_cache(text, name) : decode_calibration(text, name);
}

}  // namespace hussar
