// Public calibrate and export_qdq over the inner ones.
#include "compile/calibrate.h"

#include "compile/export_qdq.h"
#include "compile/quantization.h"

#include "api/core.h"
#include "base/error.h"
#include "onnx/import.h"
#include "quantize/calibration_file.h"
#include "quantize/trt_cache.h"

namespace hussar::core {
using CalibrateOptions = hussar::CalibrateOptions;
using QdqOptions = hussar::QdqOptions;
}  // namespace hussar::core

#include "api/callback_source.h"

namespace hussar {
inline namespace api {
namespace {

// What is to be done: return a cache that is complete, go on with one that is not, or begin.
struct Start {
  std::string complete;
  std::optional<Calibration> resume;
};

Result<Start> start_from(std::string cache, const std::string& model_path) {
  Start start;
  if (cache.empty()) return start;
  if (cache.substr(0, 4) == "TRT-") {
    start.complete = encode_calibration(HUSSAR_TRY(decode_trt_cache(cache, "the cache")));
    return start;
  }
  Calibration calibration = HUSSAR_TRY(decode_calibration(cache, "the cache"));
  if (!calibration.is_complete) {
    start.resume = std::move(calibration);
    return start;
  }
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  HUSSAR_TRY(check_is_of_model(calibration, model_fingerprint(model.graph), "the cache"));
  start.complete = std::move(cache);
  return start;
}

}  // namespace

Result<std::string> calibrate(const std::string& model_path, Calibrator& calibrator, const CalibrateOptions& options) {
  return core::guarded([&]() -> Result<std::string> {
    auto method = method_from_name(options.method);
    HUSSAR_CHECK(method, ErrorCode::kUsage, "there is no calibration method '{}'; there are {}", options.method,
                 all_method_names());
    auto rounding = rounding_from_name(options.rounding);
    HUSSAR_CHECK(rounding, ErrorCode::kUsage, "weights are rounded nearest or adaptive, not '{}'", options.rounding);
    core::CalibrateOptions inner;
    inner.shapes = HUSSAR_TRY(parse_shapes(options.shapes));
    inner.threads = options.threads;
    inner.method = *method;
    inner.rounding = *rounding;
    inner.fewest_samples = options.fewest_samples;
    inner.cut.samples_per_run = std::max(0, calibrator.batch_size());
    inner.save = [&](const Calibration& calibration) {
      return calibrator.write_cache(encode_calibration(calibration));
    };
    Start start = HUSSAR_TRY(start_from(HUSSAR_TRY(calibrator.read_cache()), model_path));
    if (!start.complete.empty()) return start.complete;
    inner.resume = std::move(start.resume);
    CallbackSource source(calibrator);
    CalibrateReport report;
    Calibration calibration = HUSSAR_TRY(hussar::calibrate(model_path, source, inner, &report));
    for (const std::string& warning : report.warnings) {
      if (options.warning) options.warning(warning);
    }
    std::string cache = encode_calibration(calibration);
    HUSSAR_TRY(calibrator.write_cache(cache));
    return cache;
  });
}

Result<int64_t> export_qdq(const std::string& model_path, std::string_view cache, const std::string& output_path,
                           const QdqOptions& options) {
  return core::guarded([&]() -> Result<int64_t> {
    HUSSAR_CHECK(options.activations == "uint8" || options.activations == "int8", ErrorCode::kUsage,
                 "activations are uint8 or int8, not '{}'", options.activations);
    core::QdqOptions inner;
    inner.shapes = HUSSAR_TRY(parse_shapes(options.shapes));
    inner.activations = options.activations == "int8" ? DType::kInt8 : DType::kUInt8;
    inner.fp32_nodes = options.fp32_nodes;
    const Calibration calibration = HUSSAR_TRY(decode_calibration_or_trt_cache(cache, "the cache"));
    return HUSSAR_TRY(hussar::export_qdq(model_path, calibration, "the cache", output_path, inner)).quantized;
  });
}

}  // namespace api
}  // namespace hussar
