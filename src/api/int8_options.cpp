#include "api/int8_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "compile/fp8.h"
#include "compile/quantization.h"
#include "onnx/import.h"
#include "plan/plan.h"
#include "quantize/calibration_file.h"
#include "quantize/trt_cache.h"

namespace hussar {

static Result<Calibration> read(const Int8Request& request, const std::string& name) {
  HUSSAR_CHECK(request.calibration.empty() != request.calibration_file.empty(), ErrorCode::kUsage,
               "INT8 needs the ranges of activations: either calibration, what calibrate() gave, or calibration_file, "
               "what `hussar calibrate` wrote; or dynamic, without either");
  if (!request.calibration.empty()) return decode_calibration_or_trt_cache(request.calibration, name);
  auto file = HUSSAR_TRY(MappedFile::open(request.calibration_file));
  const std::span<const std::byte> bytes = file->bytes();
  return decode_calibration_or_trt_cache({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
}

Status apply_int8(const std::string& model_path, const Int8Request& request, CompileOptions& options) {
  HUSSAR_CHECK(!is_plan_file(model_path), ErrorCode::kUsage,
               "INT8 needs the ONNX model: the passes that quantize ran when '{}' was built", model_path);
  options.needs_int8 = request.strict;
  if (request.fp8) HUSSAR_TRY(check_fp8_target(options.place, options.sm));
  HUSSAR_CHECK(!request.fp8 || !request.dynamic, ErrorCode::kUsage, "FP8 has static ranges, dynamic ones are for INT8");
  if (request.dynamic) {
    HUSSAR_CHECK(request.calibration.empty() && request.calibration_file.empty(), ErrorCode::kUsage,
                 "dynamic INT8 finds the ranges of activations when the model runs: it takes no calibration");
    options.quantization = dynamic_quantization(options.fp32_nodes, options.place == Place::kDevice);
    return {};
  }
  const auto method = method_from_name(request.method);
  HUSSAR_CHECK(method, ErrorCode::kUsage, "there is no calibration method '{}'; there are {}", request.method,
               all_method_names());
  const std::string name = request.calibration_file.empty() ? "of the options" : request.calibration_file;
  const Calibration calibration = HUSSAR_TRY(read(request, name));
  const onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  HUSSAR_TRY(check_is_of_model(calibration, model_fingerprint(model.graph), name));
  const auto& values = model.graph.values();
  const bool names_any = std::any_of(values.begin(), values.end(),
                                     [&](const auto& value) { return calibration.tensors.count(value->name) > 0; });
  HUSSAR_CHECK(names_any, ErrorCode::kUsage, "calibration '{}' names no tensor of '{}'", name, model_path);
  options.quantization = request.fp8 ? fp8_quantization_of(calibration, *method, options.fp32_nodes)
                                     : quantization_of(calibration, *method, options.fp32_nodes);
  return {};
}

}  // namespace hussar
